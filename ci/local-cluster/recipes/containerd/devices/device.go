package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// node is what the node has at a path.
type node struct {
	// kind is `c`, `b` or `p`, as in the OCI runtime specification.
	kind         string
	major, minor int64
	// mode has no bits of the file's type.
	mode     uint32
	uid, gid uint32
}

// device is a node of the machine and what a container may do with it.
type device struct {
	node
	// path is the one in the container.
	path   string
	access string
}

// devices returns what the value of an annotation asks for. `find` looks at the node's
// file system. The first entry that is wrong decides: CRI-O checks each one whole
// before the next. Errors are in CRI-O's words.
func devices(value string, allowed []string, find func(string) (node, error)) ([]device, error) {
	var asked []device
	for text := range strings.SplitSeq(value, ",") {
		if text == "" {
			continue
		}
		parsed, err := parseEntry(text)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(allowed, parsed.source) {
			return nil, fmt.Errorf("device %s is specified but is not in allowed_devices", parsed.source)
		}
		if !strings.HasPrefix(parsed.target, "/dev/") {
			return nil, invalidMode(parsed.target)
		}
		found, err := find(parsed.source)
		if err != nil {
			return nil, fmt.Errorf("%s is not a valid device: %w", parsed.source, err)
		}
		asked = append(asked, device{node: found, path: parsed.target, access: parsed.access})
	}
	return asked, nil
}

// errNoDevice has the words of opencontainers' library, which CRI-O passes on.
var errNoDevice = errors.New("not a device node")

// nodeAt looks at the node's file system. A symbolic link is not followed, so it is no
// device.
func nodeAt(path string) (node, error) {
	var status unix.Stat_t
	if err := unix.Lstat(path, &status); err != nil {
		return node{}, err
	}
	kinds := map[uint32]string{unix.S_IFCHR: "c", unix.S_IFBLK: "b", unix.S_IFIFO: "p"}
	kind, known := kinds[status.Mode&unix.S_IFMT]
	if !known {
		return node{}, errNoDevice
	}
	return node{
		kind:  kind,
		major: int64(unix.Major(status.Rdev)),
		minor: int64(unix.Minor(status.Rdev)),
		mode:  status.Mode &^ unix.S_IFMT,
		uid:   status.Uid,
		gid:   status.Gid,
	}, nil
}
