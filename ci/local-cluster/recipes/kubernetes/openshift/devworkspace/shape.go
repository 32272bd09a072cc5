package devworkspace

import (
	"fmt"
	"sort"
	"strings"
)

// A shape is what may be at a place of an object. It returns the places that the
// recording does not have, as a user would write them.
type shape func(place string, value any) []string

// fields is an object with these fields only. A name that ends with `!` is of a
// field that must be there.
func fields(of map[string]shape) shape {
	known, required := map[string]shape{}, []string{}
	for name, shape := range of {
		trimmed := strings.TrimSuffix(name, "!")
		known[trimmed] = shape
		if trimmed != name {
			required = append(required, trimmed)
		}
	}
	return func(place string, value any) []string {
		object, ok := value.(map[string]any)
		if !ok {
			return []string{unlike(place, value)}
		}
		var found []string
		for name, inner := range object {
			if shape, ok := known[name]; ok {
				found = append(found, shape(place+"."+name, inner)...)
			} else {
				found = append(found, place+"."+name)
			}
		}
		for _, name := range required {
			if _, ok := object[name]; !ok {
				found = append(found, place+"."+name+" (absent)")
			}
		}
		sort.Strings(found)
		return found
	}
}

// limits are quantities of memory, which were recorded, and of extended resources,
// which have a domain. The operator merges all of them into the container
// (devworkspace-operator, pkg/library/overrides).
func limits(place string, value any) []string {
	known := map[string]shape{"memory": quantity}
	if object, ok := value.(map[string]any); ok {
		for name := range object {
			if strings.Contains(name, "/") {
				known[name] = quantity
			}
		}
	}
	return fields(known)(place, value)
}

// items is a list of such values.
func items(of shape) shape {
	return func(place string, value any) []string {
		list, ok := value.([]any)
		if !ok {
			return []string{unlike(place, value)}
		}
		var found []string
		for index, item := range list {
			found = append(found, of(fmt.Sprintf("%s[%d]", place, index), item)...)
		}
		return found
	}
}

// oneOf is one of the values that were recorded.
func oneOf(values ...any) shape {
	return func(place string, value any) []string {
		for _, known := range values {
			if known == value {
				return nil
			}
		}
		return []string{unlike(place, value)}
	}
}

// text is a string that is not empty.
func text(place string, value any) []string {
	if found, ok := value.(string); ok && found != "" {
		return nil
	}
	return []string{unlike(place, value)}
}

// anything is what varies freely.
func anything(string, any) []string { return nil }

func unlike(place string, value any) string { return fmt.Sprintf("%s=%v", place, value) }

// The shape of the workspaces in the recording.
var (
	workspaceShape = fields(map[string]shape{
		"started": anything,
		"template!": fields(map[string]shape{
			"attributes!": fields(map[string]shape{
				attributeConfig:             fields(map[string]shape{"name!": text, "namespace!": text}),
				attributeConstraint:         text,
				attributeProjectClone + "!": oneOf("disable"),
				attributeStorageType + "!":  oneOf(ephemeral, perWorkspace, perUser),
				// Containers are known to be refused, see overrides.go.
				attributePod: fields(map[string]shape{"spec!": fields(map[string]shape{
					"hostUsers": anything, "containers": anything,
				})}),
			}),
			"components!": items(componentShape),
		}),
	})
	componentShape = fields(map[string]shape{
		"name!":      text,
		"container":  containerShape,
		"volume":     fields(map[string]shape{"ephemeral": anything, "size": quantity}),
		"attributes": fields(map[string]shape{attributeContainer: overridesShape}),
	})
	containerShape = fields(map[string]shape{
		"image!": text,
		// Only commands were recorded. The operator copies both to the pod
		// (devworkspace-operator, pkg/library/container/conversion.go).
		"command":        items(text),
		"args":           items(text),
		"env":            items(fields(map[string]shape{"name!": text, "value!": anything})),
		"memoryLimit!":   quantity,
		"memoryRequest!": quantity,
		"mountSources!":  oneOf(false),
		"sourceMapping":  oneOf("/projects"),
		"volumeMounts":   items(fields(map[string]shape{"name!": text, "path!": text})),
	})
	overridesShape = fields(map[string]shape{
		// An image is known to be refused, see overrides.go.
		"image": anything,
		"resources": fields(map[string]shape{
			"limits": limits,
		}),
	})
	configShape = fields(map[string]shape{
		"routing": fields(map[string]shape{"clusterHostSuffix": text}),
		"webhook": fields(map[string]shape{"replicas": anything}),
		"workspace": fields(map[string]shape{
			"hostUsers":                oneOf(false),
			"imagePullPolicy":          oneOf("Always", "IfNotPresent", "Never"),
			"podAnnotations":           anything,
			"podSecurityContext":       podContext,
			"containerSecurityContext": containerContext,
			"runtimeClassName":         text,
		}),
	})
)
