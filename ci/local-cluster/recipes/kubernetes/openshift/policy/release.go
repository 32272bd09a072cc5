package policy

import (
	"fmt"
	"strings"
)

// Newest is the name of the newest release that the stand-in knows.
const Newest = "newest"

var newestRelease = Release{major: 5, minor: 0}

// Release is the OpenShift release whose controller this one stands in for.
type Release struct{ major, minor int }

// ParseRelease reads a release: "4.19", "4.19.9" or "newest". It fails for
// anything else, and for a release older than 4.18, whose rules nobody has read.
func ParseRelease(text string) (Release, error) {
	if text == Newest {
		return newestRelease, nil
	}
	var release Release
	numbers := strings.SplitN(text, ".", 3)
	if len(numbers) < 2 {
		return Release{}, fmt.Errorf("%q is no release: expected one like 4.20, or %s", text, Newest)
	}
	if _, err := fmt.Sscanf(numbers[0]+"."+numbers[1]+" ", "%d.%d ", &release.major, &release.minor); err != nil {
		return Release{}, fmt.Errorf("%q is no release: expected one like 4.20, or %s", text, Newest)
	}
	if !release.atLeast(4, 18) {
		return Release{}, fmt.Errorf("release %s is not known: the oldest one is 4.18", text)
	}
	return release, nil
}

// String gives the release as major and minor number.
func (r Release) String() string {
	return fmt.Sprintf("%d.%d", r.major, r.minor)
}

func (r Release) atLeast(major, minor int) bool {
	return r.major > major || r.major == major && r.minor >= minor
}

// notesLevel says whether the controller writes the level that it found into an
// annotation too (cluster-policy-controller 284f2af0d, first in release-4.19).
func (r Release) notesLevel() bool { return r.atLeast(4, 19) }

// appliesRanges says whether ranges come by server-side apply, and not by a patch
// that overwrites what is there (branch release-4.21).
func (r Release) appliesRanges() bool { return r.atLeast(4, 21) }

// knowsTokenVolumes says whether the volume type `serviceAccountToken` is known
// (cluster-policy-controller 69f126c7b, first in release-4.23).
func (r Release) knowsTokenVolumes() bool { return r.atLeast(4, 23) }
