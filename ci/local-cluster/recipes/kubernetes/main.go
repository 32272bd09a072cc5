// Command kubernetes is the control plane and the kubelet in one program: the
// name it is started by (argv[0]) says which component it is. One link instead
// of five makes a cold build minutes shorter. The mains are those of
// k8s.io/kubernetes/cmd/*, which do nothing but call these constructors.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	"local/kubernetes/deviceplugin"
	"local/kubernetes/openshift/devworkspace"
	"local/kubernetes/openshift/policy"
)

func main() {
	var command *cobra.Command
	switch name := filepath.Base(os.Args[0]); name {
	case "kube-apiserver":
		command = newAPIServerCommand(os.Args[1:])
	case "kube-controller-manager":
		command = controllermanager.NewControllerManagerCommand()
	case "kube-scheduler":
		command = scheduler.NewSchedulerCommand()
	case "kubelet":
		command = newKubeletCommand()
	case "kubectl":
		command = kubectl.NewDefaultKubectlCommand()
	case "cluster-policy-controller":
		command = policy.NewCommand(context.Background())
	case "devworkspace-controller":
		command = devworkspace.NewCommand(context.Background())
	case "device-plugin":
		command = deviceplugin.NewCommand(context.Background())
	default:
		fmt.Fprintf(os.Stderr, "error: no component is called %q\n", name)
		os.Exit(2)
	}
	os.Exit(cli.Run(command))
}
