package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/runtime-tools/generate"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// editor does the edits of a specification that concern devices. Any other edit is not
// the plugin's, and panics.
type editor struct {
	generate.UnderlyingGenerator
	spec *specs.Spec
}

func (e *editor) Spec() *specs.Spec { return e.spec }

func (e *editor) AddDevice(added specs.LinuxDevice) {
	e.spec.Linux.Devices = append(e.spec.Linux.Devices, added)
}

func (e *editor) RemoveDevice(path string) {
	e.spec.Linux.Devices = slices.DeleteFunc(e.spec.Linux.Devices, func(listed specs.LinuxDevice) bool {
		return listed.Path == path
	})
}

func (e *editor) AddLinuxResourcesDevice(allow bool, kind string, major, minor *int64, access string) {
	rule := specs.LinuxDeviceCgroup{Allow: allow, Type: kind, Major: major, Minor: minor, Access: access}
	e.spec.Linux.Resources.Devices = append(e.spec.Linux.Resources.Devices, rule)
}

// applied is what NRI makes of a specification.
func applied(t *testing.T, spec *specs.Spec, asked ...device) *specs.Spec {
	t.Helper()
	container := &api.Container{Linux: &api.LinuxContainer{
		Devices:   api.FromOCILinuxDevices(spec.Linux.Devices),
		Resources: api.FromOCILinuxResources(spec.Linux.Resources, nil),
	}}
	generator := generate.SpecGenerator(&editor{spec: spec})
	if err := generator.Adjust(adjustment(asked, container)); err != nil {
		t.Fatal(err)
	}
	return spec
}

// ordinary is the specification of a container that has no devices.
func ordinary() *specs.Spec {
	deny := specs.LinuxDeviceCgroup{Allow: false, Access: "rwm"}
	return &specs.Spec{Linux: &specs.Linux{
		Resources: &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{deny}},
	}}
}

// mayOpen tells what the devices controller lets a container do with a device: the last
// rule that says something about it decides.
func mayOpen(spec *specs.Spec, of node) string {
	var may string
	for _, access := range []string{"r", "w", "m"} {
		for _, rule := range slices.Backward(spec.Linux.Resources.Devices) {
			fits := rule.Type == "" || rule.Type == of.kind && *rule.Major == of.major && *rule.Minor == of.minor
			if fits && strings.Contains(rule.Access, access) {
				if rule.Allow {
					may += access
				}
				break
			}
		}
	}
	return may
}

func TestDevicesAreAsOnTheNode(t *testing.T) {
	spec := applied(t, ordinary(), device{fuse, "/dev/fuse", "rwm"}, device{tun, "/dev/t", "rwm"})
	var shown []string
	for _, made := range spec.Linux.Devices {
		shown = append(shown, fmt.Sprintf("%s %s %d:%d %o %d:%d", made.Path, made.Type, made.Major, made.Minor, *made.FileMode, *made.UID, *made.GID))
	}
	expected := []string{"/dev/fuse c 10:229 666 0:0", "/dev/t c 10:200 660 0:5"}
	if !slices.Equal(shown, expected) {
		t.Errorf("devices: %q, expected %q", shown, expected)
	}
}

func TestTheControllerAllowsWhatWasAsked(t *testing.T) {
	disk := node{kind: "b", major: 8, minor: 0}
	for _, of := range []node{fuse, disk} {
		for _, access := range []string{"r", "w", "m", "rw", "rm", "wm", "rwm"} {
			spec := applied(t, ordinary(), device{of, "/dev/a", access})
			if may := mayOpen(spec, of); may != access {
				t.Errorf("%s device: may %q, asked for %q: %+v", of.kind, may, access, spec.Linux.Resources.Devices)
			}
		}
		if may := mayOpen(ordinary(), of); may != "" {
			t.Errorf("without the annotation a container may %q", may)
		}
	}
}

func TestTwoNamesOfADeviceGetWhatBothAskFor(t *testing.T) {
	for _, order := range [][]string{{"r", "rw"}, {"rw", "r"}} {
		spec := applied(t, ordinary(), device{fuse, "/dev/a", order[0]}, device{fuse, "/dev/b", order[1]})
		if may := mayOpen(spec, fuse); may != "rw" {
			t.Errorf("asked for %v, may %q", order, may)
		}
	}
}

// Another name of a device takes nothing from a container that may use the device anyway.
func TestAnotherNameTakesNothing(t *testing.T) {
	null := node{kind: "c", major: 1, minor: 3}
	withFuse := func() *specs.Spec {
		spec := ordinary()
		rule := specs.LinuxDeviceCgroup{Allow: true, Type: "c", Major: &fuse.major, Minor: &fuse.minor, Access: "rw"}
		spec.Linux.Resources.Devices = append(spec.Linux.Resources.Devices, rule)
		return spec
	}
	if may := mayOpen(applied(t, withFuse(), device{fuse, "/dev/f", "r"}), fuse); may != "rw" {
		t.Errorf("may only %q with a device that it had", may)
	}
	if may := mayOpen(applied(t, withFuse(), device{fuse, "/dev/f", "m"}), fuse); may != "rwm" {
		t.Errorf("may only %q with a device that it had and asked for", may)
	}
	// The runtime allows this one in no rule of the specification.
	for _, rule := range applied(t, ordinary(), device{null, "/dev/x", "r"}).Linux.Resources.Devices {
		if !rule.Allow && rule.Type != "" {
			t.Errorf("a rule takes /dev/null: %+v", rule)
		}
	}
}

func TestTheLastDeviceOfAPathCounts(t *testing.T) {
	spec := applied(t, ordinary(), device{fuse, "/dev/a", "rwm"}, device{fuse, "/dev/b", "rwm"}, device{tun, "/dev/a", "rwm"})
	made := spec.Linux.Devices
	if len(made) != 2 || made[0].Path != "/dev/a" || made[0].Minor != tun.minor {
		t.Errorf("devices: %+v", made)
	}
}

func TestDevicesOfTheContainerItselfStay(t *testing.T) {
	spec := ordinary()
	spec.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/a", Type: "c", Major: 1, Minor: 2}}
	made := applied(t, spec, device{fuse, "/dev/a", "rwm"}).Linux.Devices
	if len(made) != 1 || made[0].Major != 1 {
		t.Errorf("devices: %+v", made)
	}
}

func TestPrivilegedContainersLoseNothing(t *testing.T) {
	spec := ordinary()
	spec.Linux.Resources.Devices = []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}
	applied(t, spec, device{fuse, "/dev/f", "r"})
	if may := mayOpen(spec, tun); may != "rwm" {
		t.Errorf("may %q with other devices", may)
	}
	for _, rule := range spec.Linux.Resources.Devices {
		if !rule.Allow {
			t.Errorf("a rule denies: %+v", rule)
		}
	}
}
