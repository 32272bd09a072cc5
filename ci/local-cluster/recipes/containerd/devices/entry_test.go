package main

import "testing"

func TestEntriesAreReadAsByCRIO(t *testing.T) {
	for text, expected := range map[string]entry{
		"/dev/fuse":               {"/dev/fuse", "/dev/fuse", "rwm"},
		"/dev/fuse:/dev/f":        {"/dev/fuse", "/dev/f", "rwm"},
		"/dev/fuse:/dev/f:r":      {"/dev/fuse", "/dev/f", "r"},
		"/dev/fuse:rw":            {"/dev/fuse", "/dev/fuse", "rw"},
		"/dev/fuse:mwr":           {"/dev/fuse", "/dev/fuse", "mwr"},
		"/dev/fuse:rw:m":          {"/dev/fuse", "/dev/fuse", "rw"},
		"/dev/fuse:":              {"/dev/fuse", "/dev/fuse", "rwm"},
		"/dev/fuse::w":            {"/dev/fuse", "/dev/fuse", "w"},
		"/dev/fuse:/elsewhere:rw": {"/dev/fuse", "/elsewhere", "rw"},
		" /dev/fuse":              {" /dev/fuse", " /dev/fuse", "rwm"},
		"":                        {"", "", "rwm"},
		":/dev/f":                 {"", "/dev/f", "rwm"},
	} {
		parsed, err := parseEntry(text)
		if err != nil || parsed != expected {
			t.Errorf("%q is %+v, %v; expected %+v", text, parsed, err, expected)
		}
	}
}

func TestWrongEntriesFailInTheWordsOfCRIO(t *testing.T) {
	for text, expected := range map[string]string{
		"invalid:invalid":        "invalid device mode: invalid",
		"/dev/fuse:rr":           "invalid device mode: rr",
		"/dev/fuse:RW":           "invalid device mode: RW",
		"/dev/fuse:dev/f:rw":     "invalid device mode: dev/f",
		"/dev/fuse:/dev/f:":      "invalid device mode: ",
		"/dev/fuse:/dev/f:x":     "invalid device mode: x",
		"/dev/fuse:dev/f:x":      "invalid device mode: x",
		"/dev/fuse:/dev/f:rw:":   "invalid device specification: /dev/fuse:/dev/f:rw:",
		"/dev/fuse:/dev/f:rw: r": "invalid device specification: /dev/fuse:/dev/f:rw: r",
	} {
		parsed, err := parseEntry(text)
		if err == nil || err.Error() != expected {
			t.Errorf("%q is %+v, error %v; expected the error %s", text, parsed, err, expected)
		}
	}
}
