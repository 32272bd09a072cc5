package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/nri/pkg/adaptation"
	"github.com/containerd/nri/pkg/api"
	validator "github.com/containerd/nri/plugins/default-validator"
)

// pluginName is the one by which containerd's configuration requires the plugin.
const pluginName = "cri-o-devices"

// bothAllowed are settings with which /dev/null can be had.
const bothAllowed = `{"allowed_annotations": ["io.kubernetes.cri-o.Devices", "devices.crio.io"], "allowed_devices": ["/dev/null", "/dev/absent"]}`

// TestMain is the plugin where NRI starts this program as one.
func TestMain(m *testing.M) {
	if os.Getenv(api.PluginSocketEnvVar) == "" {
		os.Exit(m.Run())
	}
	pid := strconv.Itoa(os.Getpid())
	if err := os.WriteFile(pidFile(os.Args[0]), []byte(pid), 0o600); err != nil {
		panic(err)
	}
	main()
}

func pidFile(program string) string { return program + ".pid" }

// runtime is the part of containerd that asks plugins, with the settings of a node: the
// plugin is required, and none may come from elsewhere.
type runtime struct {
	*adaptation.Adaptation
	program string
}

// started is a runtime that has started the plugin, if there is one.
func started(t *testing.T, config string, isThere bool) runtime {
	t.Helper()
	folder := t.TempDir()
	program := filepath.Join(folder, "10-"+pluginName)
	if isThere {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(self, program); err != nil {
			t.Fatal(err)
		}
	}
	configs := t.TempDir()
	if err := os.WriteFile(filepath.Join(configs, "10-"+pluginName+".conf"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	engine, err := adaptation.New("test", "v0", synchronize, update,
		adaptation.WithPluginPath(folder),
		adaptation.WithPluginConfigPath(configs),
		adaptation.WithDisabledExternalConnections(),
		adaptation.WithDefaultValidator(&validator.DefaultValidatorConfig{Enable: true, RequiredPlugins: []string{pluginName}}),
	)
	if err != nil {
		t.Fatal(err)
	}
	if err := engine.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(engine.Stop)
	return runtime{engine, program}
}

func synchronize(ctx context.Context, tell adaptation.SyncCB) error {
	_, err := tell(ctx, nil, nil)
	return err
}

func update(context.Context, []*api.ContainerUpdate) ([]*api.ContainerUpdate, error) {
	return nil, errors.New("no updates here")
}

// create asks for a container of a pod with these annotations.
func (r runtime) create(annotations map[string]string) (*api.ContainerAdjustment, error) {
	answer, err := r.CreateContainer(context.Background(), &api.CreateContainerRequest{
		Pod:       &api.PodSandbox{Id: "pod", Annotations: annotations},
		Container: &api.Container{Id: fmt.Sprint("container-", time.Now().UnixNano()), Linux: &api.LinuxContainer{}},
	})
	return answer.GetAdjust(), err
}

// signal sends a signal to the plugin.
func (r runtime) signal(t *testing.T, signal syscall.Signal) {
	t.Helper()
	text, err := os.ReadFile(pidFile(r.program))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(string(text))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, signal); err != nil {
		t.Fatal(err)
	}
}

// refused fails the test unless the error has these words.
func refused(t *testing.T, err error, words string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), words) {
		t.Errorf("error %v, expected one with: %s", err, words)
	}
}

func TestNRIGivesTheDevicesOfEitherAnnotation(t *testing.T) {
	runtime := started(t, bothAllowed, true)
	for _, name := range []string{annotationV1, annotationV2} {
		change, err := runtime.create(map[string]string{name: "/dev/null:/dev/nothing:r"})
		if err != nil {
			t.Fatal(err)
		}
		made, rules := change.GetLinux().GetDevices(), change.GetLinux().GetResources().GetDevices()
		if len(made) != 1 || made[0].Path != "/dev/nothing" || made[0].Minor != 3 || len(rules) != 1 || rules[0].Access != "r" {
			t.Errorf("%s: devices %v, rules %v", name, made, rules)
		}
	}
}

func TestNRIGivesNothingForAnAnnotationThatIsNotAllowed(t *testing.T) {
	runtime := started(t, `{"allowed_annotations": ["devices.crio.io"], "allowed_devices": ["/dev/null"]}`, true)
	change, err := runtime.create(map[string]string{annotationV1: "/dev/null,/dev/kmsg"})
	if err != nil || len(change.GetLinux().GetDevices()) != 0 {
		t.Errorf("devices %v, error %v", change.GetLinux().GetDevices(), err)
	}
}

func TestNRIRefusesInTheWordsOfCRIO(t *testing.T) {
	runtime := started(t, bothAllowed, true)
	for value, words := range map[string]string{
		"/dev/kmsg":           "device /dev/kmsg is specified but is not in allowed_devices",
		"/dev/null:/dev/x:rr": "invalid device mode: rr",
		"/dev/absent":         "/dev/absent is not a valid device: no such file or directory",
	} {
		_, err := runtime.create(map[string]string{annotationV1: value})
		refused(t, err, words)
	}
}

func TestNoContainerStartsWithoutThePlugin(t *testing.T) {
	for name, runtime := range map[string]runtime{
		"absent":          started(t, bothAllowed, false),
		"without setting": started(t, "", true),
		"wrong settings":  started(t, `{"allowed_annotations": ["x"]}`, true),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := runtime.create(nil)
			refused(t, err, `required plugin "`+pluginName+`" not present`)
		})
	}
}

func TestNoContainerStartsAfterThePluginHasEnded(t *testing.T) {
	runtime := started(t, bothAllowed, true)
	if _, err := runtime.create(nil); err != nil {
		t.Fatal(err)
	}
	runtime.signal(t, syscall.SIGKILL)
	for range 3 {
		_, err := runtime.create(map[string]string{annotationV1: "/dev/null"})
		refused(t, err, pluginName)
	}
}

func TestNoContainerStartsWhileThePluginHangs(t *testing.T) {
	adaptation.SetPluginRequestTimeout(200 * time.Millisecond)
	t.Cleanup(func() { adaptation.SetPluginRequestTimeout(adaptation.DefaultPluginRequestTimeout) })
	runtime := started(t, bothAllowed, true)
	runtime.signal(t, syscall.SIGSTOP)
	for range 2 {
		// The first request is too late for the plugin, whereupon NRI kills it.
		_, err := runtime.create(map[string]string{annotationV1: "/dev/null"})
		refused(t, err, pluginName)
	}
}
