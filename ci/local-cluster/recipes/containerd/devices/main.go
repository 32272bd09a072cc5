// Command devices is an NRI plugin of containerd that gives devices to the
// containers of a pod by annotation, as CRI-O does.
//
// containerd starts it and hands it its settings. It is a stand-in: on an
// OpenShift node CRI-O does this itself. Facts about CRI-O are from
// its sources (internal/config/device, pkg/annotations/v2, pkg/config and
// server/container_create_linux.go, v1.32 to v1.36).
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/stub"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "devices:", err)
		os.Exit(1)
	}
}

// run serves containerd until it closes the connection. The name and the
// connection come from the environment that containerd sets.
func run() error {
	service, err := stub.New(&plugin{}, stub.WithOnClose(func() { os.Exit(0) }))
	if err != nil {
		return err
	}
	return service.Run(context.Background())
}

// plugin answers containerd's requests.
type plugin struct {
	settings settings
}

// Configure takes the text of the settings. containerd calls it once, before any
// container. An error keeps the plugin from starting.
func (p *plugin) Configure(_ context.Context, text, _, _ string) (api.EventMask, error) {
	read, err := readSettings(text)
	if err != nil {
		return 0, fmt.Errorf("settings of the devices plugin: %w", err)
	}
	p.settings = read
	var events api.EventMask
	events.Set(api.Event_CREATE_CONTAINER, api.Event_VALIDATE_CONTAINER_ADJUSTMENT)
	return events, nil
}

// CreateContainer returns the devices that the pod's annotation asks for. An error
// makes the kubelet report CreateContainerError with its text, as with CRI-O. The
// annotation is the pod's, so it holds for all containers, init containers too.
func (p *plugin) CreateContainer(_ context.Context, pod *api.PodSandbox, container *api.Container) (*api.ContainerAdjustment, []*api.ContainerUpdate, error) {
	value := p.settings.request(pod.GetAnnotations())
	asked, err := devices(value, p.settings.AllowedDevices, nodeAt)
	if err != nil || len(asked) == 0 {
		return nil, nil, err
	}
	return adjustment(asked, container), nil, nil
}

// ValidateContainerAdjustment accepts everything: that it is asked is the point.
// When a plugin ends or is too late, NRI goes on without its devices, but takes a
// missing answer here as a refusal. So no container starts without its devices.
func (p *plugin) ValidateContainerAdjustment(context.Context, *api.ValidateContainerAdjustmentRequest) error {
	return nil
}
