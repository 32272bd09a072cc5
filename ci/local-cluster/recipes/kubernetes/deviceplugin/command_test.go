package deviceplugin

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	api "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

// kubelet is a kubelet that registers plugins.
type kubelet struct {
	api.UnimplementedRegistrationServer
	registered chan string
}

func (of *kubelet) Register(_ context.Context, request *api.RegisterRequest) (*api.Empty, error) {
	of.registered <- request.ResourceName
	return &api.Empty{}, nil
}

func (of *kubelet) await(t *testing.T) {
	t.Helper()
	select {
	case name := <-of.registered:
		if name != "example.com/fuse-tun" {
			t.Errorf("registered as %q", name)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the plugin does not register")
	}
}

func TestThePluginGivesItsDevicesAndRegistersAgain(t *testing.T) {
	directory := t.TempDir()
	listener, err := net.Listen("unix", filepath.Join(directory, "kubelet.sock"))
	if err != nil {
		t.Fatal(err)
	}
	// What a plugin that was killed left.
	if err := os.WriteFile(filepath.Join(directory, socket), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	kubelet := &kubelet{registered: make(chan string, 1)}
	server := grpc.NewServer()
	api.RegisterRegistrationServer(server, kubelet)
	go server.Serve(listener)
	defer server.Stop()
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	of := plugin{
		resource: "example.com/fuse-tun", devices: []string{"/dev/fuse", "/dev/net/tun"}, count: 3,
	}
	ended := make(chan error, 1)
	go func() { ended <- of.run(ctx, directory) }()
	kubelet.await(t)

	path := filepath.Join(directory, socket)
	connection, err := grpc.NewClient("unix://"+path,
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	client := api.NewDevicePluginClient(connection)
	stream, err := client.ListAndWatch(ctx, &api.Empty{})
	if err != nil {
		t.Fatal(err)
	}
	if listed, err := stream.Recv(); err != nil || len(listed.Devices) != 3 {
		t.Errorf("listed %v, %v", listed, err)
	}
	answer, err := client.Allocate(ctx, &api.AllocateRequest{
		ContainerRequests: []*api.ContainerAllocateRequest{{}},
	})
	if err != nil || len(answer.ContainerResponses) != 1 {
		t.Fatalf("allocated %v, %v", answer, err)
	}
	if given := answer.ContainerResponses[0].Devices; len(given) != 2 ||
		given[1].ContainerPath != "/dev/net/tun" || given[1].Permissions != "rw" {
		t.Errorf("gave %v", given)
	}

	// As a kubelet does that starts again.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	kubelet.await(t)
	select {
	case <-kubelet.registered:
		t.Error("the plugin registers again without a reason")
	case <-time.After(100 * time.Millisecond):
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
