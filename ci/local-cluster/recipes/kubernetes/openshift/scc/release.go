package scc

import (
	"fmt"
	"sort"
	"strings"
)

// Release is a release of OpenShift whose admission this package reproduces.
// The zero value is no release: ParseRelease makes one.
type Release struct {
	name string
	// A pod is told whether its creator or its service account may use the
	// constraint. OpenShift 4.20 began with that.
	tellsSubject bool
	// A message shows a refused value as JSON. Kubernetes 1.34 began with that
	// (k8s.io/apimachinery, field.Error); older ones print Go syntax.
	valuesAsJSON bool
	// More sysctls are safe (apiserver-library-go, branch release-4.21). The
	// real server asks its kernel first; every kernel of these releases has them.
	moreSafeSysctls bool
}

// String is the release's name, such as "4.20".
func (r Release) String() string { return r.name }

// The releases by name. OpenShift 4.N runs Kubernetes 1.(N+13); 5.0 and 4.23
// run Kubernetes 1.36.
var releases = map[string]Release{
	"4.18": {},
	"4.19": {},
	"4.20": {tellsSubject: true},
	"4.21": {tellsSubject: true, valuesAsJSON: true, moreSafeSysctls: true},
	"4.22": {tellsSubject: true, valuesAsJSON: true, moreSafeSysctls: true},
	"4.23": {tellsSubject: true, valuesAsJSON: true, moreSafeSysctls: true},
	"5.0":  {tellsSubject: true, valuesAsJSON: true, moreSafeSysctls: true},
}

// ParseRelease reads a release: "4.20", "4.20.3" or "4.20-Default". It names
// the known ones when the text is none of them.
func ParseRelease(text string) (Release, error) {
	minor, _, _ := strings.Cut(text, "-")
	if parts := strings.SplitN(minor, ".", 3); len(parts) == 3 {
		minor = parts[0] + "." + parts[1]
	}
	release, known := releases[minor]
	if !known {
		names := make([]string, 0, len(releases))
		for name := range releases {
			names = append(names, name)
		}
		sort.Strings(names)
		return Release{}, fmt.Errorf("release %q of OpenShift is unknown; known are %s", text, strings.Join(names, ", "))
	}
	release.name = minor
	return release, nil
}
