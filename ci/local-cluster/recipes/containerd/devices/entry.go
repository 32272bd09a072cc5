package main

import (
	"fmt"
	"strings"
)

// allAccess is what an entry without an access gets: read, write, make.
const allAccess = "rwm"

// entry is one item of the annotation's list.
type entry struct {
	// source is the path on the node.
	source string
	// target is the path in the container.
	target string
	// access is what the devices controller lets the container do.
	access string
}

// parseEntry reads `SOURCE[:TARGET][:ACCESS]`. The second field is an access if it
// can be one. If both the second and the third field are one, the second counts,
// because CRI-O reads the fields from the last to the first. Errors are in CRI-O's words.
func parseEntry(text string) (entry, error) {
	fields := strings.Split(text, ":")
	if len(fields) > 3 {
		return entry{}, fmt.Errorf("invalid device specification: %s", text)
	}
	parsed := entry{source: fields[0], target: fields[0], access: allAccess}
	if len(fields) == 3 {
		if !isAccess(fields[2]) {
			return entry{}, invalidMode(fields[2])
		}
		parsed.access = fields[2]
	}
	if len(fields) >= 2 && fields[1] != "" {
		switch second := fields[1]; {
		case isAccess(second):
			parsed.access = second
		case strings.HasPrefix(second, "/"):
			parsed.target = second
		default:
			return entry{}, invalidMode(second)
		}
	}
	return parsed, nil
}

// invalidMode is CRI-O's error for an access that is none, and also for a path in the
// container that is not below /dev.
func invalidMode(text string) error {
	return fmt.Errorf("invalid device mode: %s", text)
}

// isAccess tells whether text has each of `r`, `w` and `m` at most once, at least one
// of them, and nothing else.
func isAccess(text string) bool {
	for _, letter := range text {
		if !strings.ContainsRune(allAccess, letter) || strings.Count(text, string(letter)) > 1 {
			return false
		}
	}
	return text != ""
}
