package scc

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// The server that a release brings decides how a message looks, not the module
// that this program is built with. So field.Error carries the facts only, and
// these functions write the text.

// text writes one problem as the release's server does.
func (r Release) text(problem *field.Error) string {
	text := problem.Field + ": " + problem.Type.String()
	if problem.Type == field.ErrorTypeInvalid {
		if r.valuesAsJSON {
			text += ": " + jsonValue(problem.BadValue)
		} else {
			text += ": " + goValue(problem.BadValue)
		}
	}
	if problem.Detail != "" {
		text += ": " + problem.Detail
	}
	return text
}

// goValue writes a value as Kubernetes up to 1.33 does.
func goValue(value any) string {
	if reflected := reflect.ValueOf(value); reflected.Kind() == reflect.Pointer {
		if reflected.IsNil() {
			value = "null"
		} else {
			value = reflected.Elem().Interface()
		}
	}
	switch value := value.(type) {
	case bool, int32, int64:
		return fmt.Sprint(value)
	case string:
		return fmt.Sprintf("%q", value)
	default:
		return fmt.Sprintf("%#v", value)
	}
}

// jsonValue writes a value as Kubernetes from 1.34 on does: as JSON, but for
// text, in which JSON would escape "&", "<" and ">".
func jsonValue(value any) string {
	if text, isText := value.(string); isText {
		return fmt.Sprintf("%q", text)
	}
	encoded, err := json.Marshal(value)
	if err != nil {
		return goValue(value)
	}
	return string(encoded)
}

// aggregate writes problems as one error of several: each text once, with
// brackets around more than one. Without any it is "<nil>", as the real plugin
// prints it.
func (r Release) aggregate(problems field.ErrorList) string {
	seen := map[string]bool{}
	var texts []string
	for _, problem := range problems {
		if text := r.text(problem); !seen[text] {
			seen[text] = true
			texts = append(texts, text)
		}
	}
	return joined(texts)
}

// list writes problems as a Go list, repetitions and all.
func (r Release) list(problems field.ErrorList) string {
	texts := make([]string, 0, len(problems))
	for _, problem := range problems {
		texts = append(texts, r.text(problem))
	}
	return "[" + strings.Join(texts, " ") + "]"
}

func joined(texts []string) string {
	switch len(texts) {
	case 0:
		return "<nil>"
	case 1:
		return texts[0]
	default:
		return "[" + strings.Join(texts, ", ") + "]"
	}
}
