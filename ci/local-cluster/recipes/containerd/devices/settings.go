package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

const (
	// annotationV1 is the only name up to CRI-O 1.34.
	annotationV1 = "io.kubernetes.cri-o.Devices"
	// annotationV2 is a name since CRI-O 1.35. Older ones take no notice of it.
	annotationV2 = "devices.crio.io"
)

// settings are what CRI-O's configuration says about devices, under CRI-O's names.
type settings struct {
	// AllowedAnnotations are the annotations that the runtime handler allows.
	AllowedAnnotations []string `json:"allowed_annotations"`
	// AllowedDevices are the paths on the node that pods may ask for.
	AllowedDevices []string `json:"allowed_devices"`
}

// readSettings reads one JSON object. It fails if the object is missing, has other
// fields, or allows an annotation that is not about devices; the last in the
// words with which CRI-O refuses to start.
func readSettings(text string) (settings, error) {
	var read settings
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&read); err != nil {
		if errors.Is(err, io.EOF) {
			return settings{}, errors.New("there are none")
		}
		return settings{}, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return settings{}, errors.New("more than one JSON value")
	}
	for _, name := range read.AllowedAnnotations {
		if name != annotationV1 && name != annotationV2 {
			return settings{}, fmt.Errorf("invalid allowed_annotation: %s", name)
		}
	}
	return read, nil
}

// request returns what the pod asks for: the value of the annotation that counts, or
// nothing. An annotation that is not allowed counts as absent, silently. Where both
// are allowed and there, V2 counts, even if it is empty.
func (s settings) request(annotations map[string]string) string {
	for _, name := range []string{annotationV2, annotationV1} {
		if value, there := annotations[name]; there && slices.Contains(s.AllowedAnnotations, name) {
			return value
		}
	}
	return ""
}
