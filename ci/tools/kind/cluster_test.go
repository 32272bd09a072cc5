// Package nestcheck has kind read the configuration of ci/kind as `kind create cluster` does.
package nestcheck

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pelletier/go-toml"
	"sigs.k8s.io/kind/pkg/internal/apis/config"
	"sigs.k8s.io/kind/pkg/internal/apis/config/encoding"
	"sigs.k8s.io/kind/pkg/internal/patch"
)

const (
	root = "../../.."
	spec = "/etc/containerd/nested.json"
)

func load(t *testing.T) *config.Cluster {
	t.Helper()
	cluster, err := encoding.Load(filepath.Join(root, "ci/kind/cluster.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	// The command line gives a cluster its name.
	cluster.Name = "kind"
	return cluster
}

// The configuration of containerd on a node of kind, which its images are built with.
func nodeConfig(t *testing.T) string {
	t.Helper()
	module, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/kind").Output()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(strings.TrimSpace(string(module)), "images/base/files/etc/containerd/config.toml")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestClusterIsValid(t *testing.T) {
	cluster := load(t)
	if err := cluster.Validate(); err != nil {
		t.Fatal(err)
	}
	if len(cluster.Nodes) != 1 || cluster.Nodes[0].Role != config.ControlPlaneRole {
		t.Fatalf("the nodes are %v", cluster.Nodes)
	}
}

func TestUnknownFieldIsRefused(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "ci/kind/cluster.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	damaged := strings.Replace(string(text), "containerdConfigPatches:", "containerdPatches:", 1)
	if _, err := encoding.Parse([]byte(damaged)); err == nil || !strings.Contains(err.Error(), "containerdPatches") {
		t.Fatalf("the error is %v", err)
	}
}

func TestNodeHasTheHandlerWithTheMountedSpec(t *testing.T) {
	cluster := load(t)
	patched, err := patch.ContainerdTOML(nodeConfig(t), cluster.ContainerdConfigPatches, nil)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := toml.Load(patched)
	if err != nil {
		t.Fatal(err)
	}
	runtimes := []string{"plugins", "io.containerd.grpc.v1.cri", "containerd", "runtimes"}
	value := func(path ...string) any { return tree.GetPath(append(runtimes[:4:4], path...)) }
	for _, expected := range []struct {
		value any
		path  []string
	}{
		{spec, []string{"nested", "base_runtime_spec"}},
		{"io.containerd.runc.v2", []string{"nested", "runtime_type"}},
		{true, []string{"nested", "options", "SystemdCgroup"}},
		// Pods without the RuntimeClass run as before.
		{"/etc/containerd/cri-base.json", []string{"runc", "base_runtime_spec"}},
	} {
		if observed := value(expected.path...); observed != expected.value {
			t.Errorf("%v is %v, not %v", expected.path, observed, expected.value)
		}
	}
	mounts := cluster.Nodes[0].ExtraMounts
	if len(mounts) != 1 || mounts[0].ContainerPath != spec || !mounts[0].Readonly {
		t.Fatalf("the mounts are %v", mounts)
	}
	if _, err := os.Stat(filepath.Join(root, mounts[0].HostPath)); err != nil {
		t.Fatal(err)
	}
}
