package main

import (
	"strings"
	"testing"
)

func TestSettingsHaveTheNamesOfCRIO(t *testing.T) {
	read, err := readSettings(`{"allowed_annotations": ["devices.crio.io"], "allowed_devices": ["/dev/fuse"]}`)
	if err != nil {
		t.Fatal(err)
	}
	if len(read.AllowedAnnotations) != 1 || len(read.AllowedDevices) != 1 || read.AllowedDevices[0] != "/dev/fuse" {
		t.Errorf("read %+v", read)
	}
}

func TestWrongSettingsAreRefused(t *testing.T) {
	for text, expected := range map[string]string{
		"":                         "there are none",
		`{"allowed": []}`:          `unknown field "allowed"`,
		`{} {}`:                    "more than one JSON value",
		`{"allowed_devices": "x"}`: "cannot unmarshal string",
		`{"allowed_annotations": ["devices.crio.io/"]}`: "invalid allowed_annotation: devices.crio.io/",
	} {
		read, err := readSettings(text)
		if err == nil || !strings.Contains(err.Error(), expected) {
			t.Errorf("%q is %+v, error %v; expected an error with: %s", text, read, err, expected)
		}
	}
}

// The rows are facts H1: which CRI-O allows which of the two.
func TestTheHandlerDecidesWhichAnnotationCounts(t *testing.T) {
	const v1, v2 = annotationV1, annotationV2
	for name, row := range map[string]struct {
		allowed  []string
		pod      map[string]string
		expected string
	}{
		"V1 allowed, V1 there":             {[]string{v1}, map[string]string{v1: "a"}, "a"},
		"V1 allowed, V2 there":             {[]string{v1}, map[string]string{v2: "b"}, ""},
		"V1 allowed, both there":           {[]string{v1}, map[string]string{v1: "a", v2: "b"}, "a"},
		"V2 allowed, V1 there":             {[]string{v2}, map[string]string{v1: "a"}, ""},
		"V2 allowed, V2 there":             {[]string{v2}, map[string]string{v2: "b"}, "b"},
		"V2 allowed, both there":           {[]string{v2}, map[string]string{v1: "a", v2: "b"}, "b"},
		"both allowed, V1 there":           {[]string{v1, v2}, map[string]string{v1: "a"}, "a"},
		"both allowed, both there":         {[]string{v1, v2}, map[string]string{v1: "a", v2: "b"}, "b"},
		"both allowed, both there, no V2":  {[]string{v1, v2}, map[string]string{v1: "a", v2: ""}, ""},
		"none allowed, both there":         {nil, map[string]string{v1: "a", v2: "b"}, ""},
		"both allowed, a name that starts": {[]string{v1, v2}, map[string]string{v1 + "/c": "a", v2 + "/c": "b"}, ""},
		"both allowed, no annotation":      {[]string{v1, v2}, nil, ""},
	} {
		asked := settings{AllowedAnnotations: row.allowed}.request(row.pod)
		if asked != row.expected {
			t.Errorf("%s: asked for %q, expected %q", name, asked, row.expected)
		}
	}
}
