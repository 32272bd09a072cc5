package main

import (
	"errors"
	"path/filepath"
	"reflect"
	"testing"

	"golang.org/x/sys/unix"
)

var (
	fuse = node{kind: "c", major: 10, minor: 229, mode: 0o666}
	tun  = node{kind: "c", major: 10, minor: 200, mode: 0o660, gid: 5}
)

// onNode has /dev/fuse and /dev/net/tun, and /dev/shm as a folder.
func onNode(path string) (node, error) {
	switch path {
	case "/dev/fuse":
		return fuse, nil
	case "/dev/net/tun":
		return tun, nil
	case "/dev/shm":
		return node{}, errNoDevice
	default:
		return node{}, unix.ENOENT
	}
}

var allowed = []string{"/dev/fuse", "/dev/net/tun", "/dev/shm", "/dev/absent"}

func TestAllowedDevicesAreGiven(t *testing.T) {
	both := []device{{fuse, "/dev/fuse", "rwm"}, {tun, "/dev/net/tun", "rwm"}}
	for value, expected := range map[string][]device{
		"":                             nil,
		",,":                           nil,
		"/dev/fuse,/dev/net/tun":       both,
		",/dev/fuse,,/dev/net/tun,":    both,
		"/dev/net/tun:/dev/t:r":        {{tun, "/dev/t", "r"}},
		"/dev/fuse:w,/dev/fuse:/dev/f": {{fuse, "/dev/fuse", "w"}, {fuse, "/dev/f", "rwm"}},
	} {
		asked, err := devices(value, allowed, onNode)
		if err != nil || !reflect.DeepEqual(asked, expected) {
			t.Errorf("%q gives %+v, %v; expected %+v", value, asked, err, expected)
		}
	}
}

func TestTheFirstWrongEntryFailsInTheWordsOfCRIO(t *testing.T) {
	for value, expected := range map[string]string{
		"/dev/kmsg":              "device /dev/kmsg is specified but is not in allowed_devices",
		"/dev/fuse,/dev/kmsg":    "device /dev/kmsg is specified but is not in allowed_devices",
		"/dev/fuse, /dev/fuse":   "device  /dev/fuse is specified but is not in allowed_devices",
		"/dev/../dev/fuse":       "device /dev/../dev/fuse is specified but is not in allowed_devices",
		":/dev/fuse":             "device  is specified but is not in allowed_devices",
		"/dev/kmsg:/dev/fuse":    "device /dev/kmsg is specified but is not in allowed_devices",
		"/dev/kmsg:/proc/x":      "device /dev/kmsg is specified but is not in allowed_devices",
		"/dev/fuse:/proc/x":      "invalid device mode: /proc/x",
		"/dev/fuse:/dev":         "invalid device mode: /dev",
		"/dev/kmsg:nonsense":     "invalid device mode: nonsense",
		"/dev/a:/dev/b:rwm:c":    "invalid device specification: /dev/a:/dev/b:rwm:c",
		"/dev/absent":            "/dev/absent is not a valid device: no such file or directory",
		"/dev/shm":               "/dev/shm is not a valid device: not a device node",
		"/dev/absent,/dev/kmsg":  "/dev/absent is not a valid device: no such file or directory",
		"/dev/kmsg,/dev/x:wrong": "device /dev/kmsg is specified but is not in allowed_devices",
	} {
		asked, err := devices(value, allowed, onNode)
		if err == nil || err.Error() != expected || asked != nil {
			t.Errorf("%q gives %+v, error %v; expected the error: %s", value, asked, err, expected)
		}
	}
}

func TestNodeAtReadsTheFileSystem(t *testing.T) {
	found, err := nodeAt("/dev/null")
	if err != nil || found.kind != "c" || found.major != 1 || found.minor != 3 || found.mode&unix.S_IFMT != 0 {
		t.Errorf("/dev/null is %+v, %v", found, err)
	}
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if found, err := nodeAt(fifo); err != nil || found.kind != "p" || found.mode != 0o600 {
		t.Errorf("a FIFO is %+v, %v", found, err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := unix.Symlink("/dev/null", link); err != nil {
		t.Fatal(err)
	}
	for path, expected := range map[string]error{link: errNoDevice, "/dev": errNoDevice, link + "-absent": unix.ENOENT} {
		if found, err := nodeAt(path); !errors.Is(err, expected) {
			t.Errorf("%s is %+v, %v; expected %v", path, found, err, expected)
		}
	}
}
