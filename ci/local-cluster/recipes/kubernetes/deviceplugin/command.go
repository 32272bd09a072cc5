// Package deviceplugin gives pods devices of the node as an extended resource, as
// device plugins for FUSE and TUN do on clusters without CRI-O's annotation.
package deviceplugin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"k8s.io/klog/v2"
	api "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
	"local/kubernetes/notify"
)

const (
	// socket is the plugin's, among those of the kubelet's plugins.
	socket = "nestcheck.sock"
	// kubeletAnswers is how long the kubelet may take to register the plugin.
	kubeletAnswers = 30 * time.Second
)

// NewCommand makes the command `device-plugin`. It works until the context ends,
// SIGINT or SIGTERM comes, and then succeeds. It fails where the kubelet does not
// register it. A kubelet that starts again removes the sockets of all plugins; the
// plugin then registers again.
func NewCommand(ctx context.Context) *cobra.Command {
	var plugin plugin
	command := &cobra.Command{
		Use:          "device-plugin",
		Short:        "Gives pods devices of the node as an extended resource",
		Args:         cobra.NoArgs,
		SilenceUsage: true,
		RunE: func(*cobra.Command, []string) error {
			ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			return plugin.run(ctx, api.DevicePluginPath)
		},
	}
	flags := command.Flags()
	flags.StringVar(&plugin.resource, "resource", "", "name of the extended resource")
	flags.StringSliceVar(&plugin.devices, "device", nil, "device that one of the resource gives")
	flags.IntVar(&plugin.count, "count", 100, "how many the node has")
	for _, name := range []string{"resource", "device"} {
		if err := command.MarkFlagRequired(name); err != nil {
			panic(err)
		}
	}
	return command
}

// run serves and registers, again each time that the kubelet removes the socket.
func (of *plugin) run(ctx context.Context, directory string) error {
	// A plugin that was killed left its socket. Nobody watches yet, so that its end is not taken for the
	// kubelet's doing.
	if err := os.Remove(filepath.Join(directory, socket)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return err
	}
	defer watcher.Close()
	if err := watcher.Add(directory); err != nil {
		return fmt.Errorf("the kubelet's directory of plugins: %w", err)
	}
	for ctx.Err() == nil {
		if err := of.serve(ctx, directory, watcher); err != nil {
			return err
		}
	}
	return nil
}

// serve answers the kubelet until the socket is removed or the context ends.
func (of *plugin) serve(ctx context.Context, directory string, watcher *fsnotify.Watcher) error {
	path := filepath.Join(directory, socket)
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return err
	}
	// Its end would be an event, and the socket that follows has the same name.
	listener.SetUnlinkOnClose(false)
	server := grpc.NewServer()
	api.RegisterDevicePluginServer(server, of)
	go func() {
		if err := server.Serve(listener); err != nil {
			klog.ErrorS(err, "The plugin does not answer any more")
		}
	}()
	defer server.Stop()
	if err := of.register(ctx, directory); ctx.Err() != nil {
		return nil
	} else if err != nil {
		return err
	}
	notify.Ready()
	klog.InfoS("The kubelet has registered the plugin", "resource", of.resource)
	for {
		select {
		case <-ctx.Done():
			return nil
		case event, isOpen := <-watcher.Events:
			if !isOpen {
				return errors.New("the watch of the directory of plugins ended")
			}
			if event.Name == path && event.Has(fsnotify.Remove) {
				return nil
			}
		case err := <-watcher.Errors:
			return err
		}
	}
}

// register tells the kubelet of the plugin. A kubelet that is not there yet is
// awaited by the connection.
func (of *plugin) register(ctx context.Context, directory string) error {
	connection, err := grpc.NewClient("unix://"+filepath.Join(directory, "kubelet.sock"),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(ctx, kubeletAnswers)
	defer cancel()
	request := &api.RegisterRequest{
		Version: api.Version, Endpoint: socket, ResourceName: of.resource,
	}
	_, err = api.NewRegistrationClient(connection).Register(ctx, request, grpc.WaitForReady(true))
	if err != nil {
		return fmt.Errorf("the kubelet does not register the plugin: %w", err)
	}
	return nil
}

// plugin gives each container that asks for one of the resource all devices.
type plugin struct {
	api.UnimplementedDevicePluginServer
	resource string
	devices  []string
	count    int
}

// GetDevicePluginOptions says that containers can start without a call.
func (*plugin) GetDevicePluginOptions(context.Context, *api.Empty) (*api.DevicePluginOptions, error) {
	return &api.DevicePluginOptions{}, nil
}

// ListAndWatch lists what there is, once: it never changes.
func (of *plugin) ListAndWatch(_ *api.Empty, stream api.DevicePlugin_ListAndWatchServer) error {
	all := make([]*api.Device, of.count)
	for number := range all {
		all[number] = &api.Device{ID: strconv.Itoa(number), Health: api.Healthy}
	}
	if err := stream.Send(&api.ListAndWatchResponse{Devices: all}); err != nil {
		return err
	}
	<-stream.Context().Done()
	return nil
}

// Allocate gives each container the devices, under the paths that they have on the
// node.
func (of *plugin) Allocate(
	_ context.Context, request *api.AllocateRequest,
) (*api.AllocateResponse, error) {
	answer := &api.AllocateResponse{}
	for range request.ContainerRequests {
		container := &api.ContainerAllocateResponse{}
		for _, path := range of.devices {
			container.Devices = append(container.Devices, &api.DeviceSpec{
				HostPath: path, ContainerPath: path, Permissions: "rw",
			})
		}
		answer.ContainerResponses = append(answer.ContainerResponses, container)
	}
	return answer, nil
}
