package main

import (
	"os"
	"slices"
	"strings"

	"github.com/containerd/nri/pkg/api"
)

// adjustment is what NRI has to change for a container to have the devices.
//
// A device keeps the mode and the owner that it has on the node. In a user namespace
// crun binds the node's file, so that the owner is nobody there.
func adjustment(asked []device, container *api.Container) *api.ContainerAdjustment {
	change := &api.ContainerAdjustment{}
	for _, wanted := range lastOfEachPath(asked) {
		// What the container itself lists comes after the annotation in CRI-O, and so counts.
		if !lists(container, wanted.path) {
			change.AddDevice(nriDevice(wanted))
		}
	}
	if usesAnyDevice(container) {
		return change
	}
	change.Linux = orNew(change.Linux)
	change.Linux.Resources = &api.LinuxResources{Devices: accessRules(asked, container)}
	return change
}

// lastOfEachPath keeps the last device of each path in the container, at the place of the
// first, as CRI-O does. NRI takes two for a conflict.
func lastOfEachPath(asked []device) []device {
	var kept []device
	for _, wanted := range asked {
		same := func(other device) bool { return other.path == wanted.path }
		if index := slices.IndexFunc(kept, same); index >= 0 {
			kept[index] = wanted
		} else {
			kept = append(kept, wanted)
		}
	}
	return kept
}

// accessRules are the rules of the devices controller. The last that fits decides, in
// both versions of cgroups.
//
// NRI itself allows more than may have been asked for. So that is taken back first; then
// each device gets what was asked, as from CRI-O. What the container may do without the
// annotation, it may still do: another name of /dev/null takes nothing from /dev/null.
func accessRules(asked []device, container *api.Container) []*api.LinuxDeviceCgroup {
	var denied, allowed []*api.LinuxDeviceCgroup
	for _, wanted := range asked {
		access := wanted.access
		if all := union(access, ownAccess(container, wanted.node)); grantsTooMuch(wanted.kind, all) {
			denied = append(denied, accessRule(wanted, false, allAccess))
			access = all
		}
		allowed = append(allowed, accessRule(wanted, true, access))
	}
	return append(denied, allowed...)
}

// grantsTooMuch tells whether NRI allows more than this access: it allows reading and
// writing of every device that it adds, and making of block devices.
func grantsTooMuch(kind, access string) bool {
	granted := "rw"
	if kind == "b" {
		granted = allAccess
	}
	return union(access, granted) != union(access, "")
}

// union is what either access allows, in the usual order.
func union(one, other string) string {
	both := ""
	for _, letter := range allAccess {
		if strings.ContainsRune(one+other, letter) {
			both += string(letter)
		}
	}
	return both
}

// defaultDevices are the minor numbers, by major ones, of the character devices that every
// container has (OCI runtime specification, "Default Devices"). The runtime allows them
// by itself.
var defaultDevices = map[int64][]int64{1: {3, 5, 7, 8, 9}, 5: {0, 1, 2}}

// ownAccess is what the container may do with a device of the node without the annotation.
func ownAccess(container *api.Container, of node) string {
	if of.kind == "c" && slices.Contains(defaultDevices[of.major], of.minor) {
		return allAccess
	}
	own := ""
	for _, rule := range container.GetLinux().GetResources().GetDevices() {
		if !concerns(rule, of) {
			continue
		}
		if rule.GetAllow() {
			own = union(own, rule.GetAccess())
			continue
		}
		for _, letter := range rule.GetAccess() {
			own = strings.ReplaceAll(own, string(letter), "")
		}
	}
	return own
}

// concerns tells whether a rule is about a device, maybe among others.
func concerns(rule *api.LinuxDeviceCgroup, of node) bool {
	kind := rule.GetType()
	return (kind == of.kind || kind == "" || kind == "a") &&
		(rule.GetMajor() == nil || rule.GetMajor().GetValue() == of.major) &&
		(rule.GetMinor() == nil || rule.GetMinor().GetValue() == of.minor)
}

func accessRule(wanted device, allow bool, access string) *api.LinuxDeviceCgroup {
	return &api.LinuxDeviceCgroup{
		Allow:  allow,
		Type:   wanted.kind,
		Major:  api.Int64(wanted.major),
		Minor:  api.Int64(wanted.minor),
		Access: access,
	}
}

func nriDevice(wanted device) *api.LinuxDevice {
	return &api.LinuxDevice{
		Path:     wanted.path,
		Type:     wanted.kind,
		Major:    wanted.major,
		Minor:    wanted.minor,
		FileMode: api.FileMode(os.FileMode(wanted.mode)),
		Uid:      api.UInt32(wanted.uid),
		Gid:      api.UInt32(wanted.gid),
	}
}

// lists tells whether the container has a device at this path already.
func lists(container *api.Container, path string) bool {
	return slices.ContainsFunc(container.GetLinux().GetDevices(), func(listed *api.LinuxDevice) bool {
		return listed.GetPath() == path
	})
}

// usesAnyDevice tells whether the container is privileged, which shows in a rule that allows
// everything. Rules for single devices could only take something from it.
func usesAnyDevice(container *api.Container) bool {
	return slices.ContainsFunc(container.GetLinux().GetResources().GetDevices(), func(rule *api.LinuxDeviceCgroup) bool {
		all := rule.GetType() == "" || rule.GetType() == "a"
		return rule.GetAllow() && all && rule.GetMajor() == nil && rule.GetMinor() == nil
	})
}

func orNew(change *api.LinuxContainerAdjustment) *api.LinuxContainerAdjustment {
	if change == nil {
		return &api.LinuxContainerAdjustment{}
	}
	return change
}
