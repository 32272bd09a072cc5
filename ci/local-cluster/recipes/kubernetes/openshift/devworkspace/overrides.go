package devworkspace

import (
	"encoding/json"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// What overrides may never change. The recording has both messages (ws-10d,
// ws-10e); the shape refuses the operator's other forbidden fields.
var (
	errOverriddenContainers = errors.New("cannot use pod-overrides to override pod containers")
	errOverriddenImage      = errors.New("cannot use container-overrides to override container image")
)

// overrideContainer applies a component's container-overrides.
func overrideContainer(component component, container corev1.Container) (corev1.Container, error) {
	overrides := component.Attributes.ContainerOverrides
	if len(overrides) == 0 {
		return container, nil
	}
	var asked corev1.Container
	if err := json.Unmarshal(overrides, &asked); err != nil {
		return container, err
	}
	if asked.Image != "" {
		return container, fmt.Errorf("invalid %s attribute on component %s: %w",
			attributeContainer, component.Name, errOverriddenImage)
	}
	for name, value := range asked.Resources.Limits {
		container.Resources.Limits[name] = value
	}
	return container, nil
}

// overridePod applies the workspace's pod-overrides.
func overridePod(overrides json.RawMessage, pod *corev1.PodSpec) error {
	if len(overrides) == 0 {
		return nil
	}
	var asked struct {
		Spec struct {
			HostUsers  *bool           `json:"hostUsers"`
			Containers json.RawMessage `json:"containers"`
		} `json:"spec"`
	}
	if err := json.Unmarshal(overrides, &asked); err != nil {
		return err
	}
	if len(asked.Spec.Containers) > 0 {
		return fmt.Errorf("invalid %s attribute for workspace: %w",
			attributePod, errOverriddenContainers)
	}
	if asked.Spec.HostUsers != nil {
		pod.HostUsers = asked.Spec.HostUsers
	}
	return nil
}
