package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/rest"
	cliflag "k8s.io/component-base/cli/flag"
	"k8s.io/component-base/cli/globalflag"
	"k8s.io/component-base/featuregate"
	"k8s.io/component-base/logs"
	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/component-base/version/verflag"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"

	"local/kubernetes/openshift/admission"
	"local/kubernetes/openshift/scc"
)

// The flag that makes the API server OpenShift's.
const openshiftRelease = "openshift-release"

// newAPIServerCommand is Kubernetes' own API server. With --openshift-release it
// is one with OpenShift's admission in its chain.
func newAPIServerCommand(args []string) *cobra.Command {
	isOurs := func(arg string) bool {
		return arg == "--"+openshiftRelease || strings.HasPrefix(arg, "--"+openshiftRelease+"=")
	}
	if !slices.ContainsFunc(args, isOurs) {
		return apiserver.NewAPIServerCommand()
	}
	return newOpenShiftAPIServerCommand()
}

// globals are the parts of a component that newer Kubernetes keeps elsewhere.
type globals struct {
	gate       featuregate.FeatureGate
	set        func() error
	addMetrics func()
}

// newOpenShiftAPIServerCommand does what Kubernetes' command does, which gives
// no way to its list of plugins, and adds ours to that list.
func newOpenShiftAPIServerCommand() *cobra.Command {
	settings, globals := newServerOptions()
	ctx := genericapiserver.SetupSignalContext()
	var release string
	command := &cobra.Command{
		Use:          "kube-apiserver",
		Short:        "Kubernetes' API server with OpenShift's admission of security context constraints",
		SilenceUsage: true,
		Args:         cobra.NoArgs,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			// The server's own requests need no warnings in its log.
			rest.SetDefaultWarningHandler(rest.NoWarnings{})
			return globals.set()
		},
		RunE: func(command *cobra.Command, _ []string) error {
			verflag.PrintAndExitIfRequested()
			if err := logsapi.ValidateAndApply(settings.Logs, globals.gate); err != nil {
				return err
			}
			cliflag.PrintFlags(command.Flags())
			if err := addPlugins(settings, release); err != nil {
				return err
			}
			completed, err := settings.Complete(ctx)
			if err != nil {
				return err
			}
			if problems := completed.Validate(); len(problems) > 0 {
				return utilerrors.NewAggregate(problems)
			}
			globals.addMetrics()
			return apiserver.Run(ctx, completed)
		},
	}
	command.SetContext(ctx)
	flags := settings.Flags()
	flags.FlagSet("openshift").StringVar(&release, openshiftRelease, "", "The release of OpenShift whose admission to serve, such as 4.20.")
	verflag.AddFlags(flags.FlagSet("global"))
	globalflag.AddGlobalFlags(flags.FlagSet("global"), command.Name(), logs.SkipLoggingConfigurationFlags())
	addVersionedFlags(settings, flags)
	for _, set := range flags.FlagSets {
		command.Flags().AddFlagSet(set)
	}
	return command
}

// addPlugins puts OpenShift's plugins into the API server's chain.
func addPlugins(settings *options.ServerRunOptions, name string) error {
	release, err := scc.ParseRelease(name)
	if err != nil {
		return fmt.Errorf("--%s: %w", openshiftRelease, err)
	}
	chain := settings.Admission.GenericAdmission
	admission.Register(chain.Plugins, release)
	chain.RecommendedPluginOrder = admission.Order(chain.RecommendedPluginOrder)
	chain.Decorators = slices.Insert(chain.Decorators, 0, admission.Decorator())
	return nil
}
