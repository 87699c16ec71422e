// Package components starts the upstream programs that live in this binary. Each function is the body of the
// program's own main and does not return.
package components

import (
	"context"
	"fmt"
	"net/http"
	"os"
	_ "time/tzdata" // time zones of CronJobs; boards may lack them

	"github.com/containerd/containerd/v2/cmd/containerd/command"
	ctr "github.com/containerd/containerd/v2/cmd/ctr/app"
	kine "github.com/k3s-io/kine/pkg/app"
	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	genericapiserver "k8s.io/apiserver/pkg/server"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // kubectl's logins
	"k8s.io/client-go/rest"
	"k8s.io/component-base/cli"
	"k8s.io/component-base/compatibility"
	"k8s.io/component-base/logs"
	logsapi "k8s.io/component-base/logs/api/v1"
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // client metrics
	_ "k8s.io/component-base/metrics/prometheus/version"  // version metric
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"

	_ "github.com/containerd/containerd/v2/cmd/containerd/builtins" // containerd's plugins
)

// Wrap puts a handler in front of the API server's own; loopback is a client configuration with all rights.
type Wrap func(loopback *rest.Config, next http.Handler) (http.Handler, error)

// APIServer runs kube-apiserver with the supervisor's routes on the same listener, as k3s does.
// It follows NewAPIServerCommand of kube-apiserver, which offers no place to add a handler.
func APIServer(wrap Wrap) {
	s := options.NewServerRunOptions()
	ctx := genericapiserver.SetupSignalContext()
	gate := s.GenericServerRunOptions.ComponentGlobalsRegistry.FeatureGateFor(compatibility.DefaultKubeComponent)
	cmd := &cobra.Command{
		Use:          "kube-apiserver",
		SilenceUsage: true,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			rest.SetDefaultWarningHandler(rest.NoWarnings{})
			return s.GenericServerRunOptions.ComponentGlobalsRegistry.Set()
		},
		RunE: func(*cobra.Command, []string) error {
			if err := logsapi.ValidateAndApply(s.Logs, gate); err != nil {
				return err
			}
			completed, err := s.Complete(ctx)
			if err != nil {
				return err
			}
			if errs := completed.Validate(); len(errs) != 0 {
				return utilerrors.NewAggregate(errs)
			}
			return serve(ctx, completed, wrap)
		},
	}
	for _, set := range s.Flags().FlagSets {
		cmd.Flags().AddFlagSet(set)
	}
	os.Exit(cli.Run(cmd))
}

func serve(ctx context.Context, opts options.CompletedOptions, wrap Wrap) error {
	config, err := apiserver.NewConfig(opts)
	if err != nil {
		return err
	}
	completed, err := config.Complete()
	if err != nil {
		return err
	}
	chain, err := apiserver.CreateServerChain(completed)
	if err != nil {
		return err
	}
	handler := chain.GenericAPIServer.Handler
	if handler.FullHandlerChain, err = wrap(chain.GenericAPIServer.LoopbackClientConfig, handler.FullHandlerChain); err != nil {
		return err
	}
	prepared, err := chain.PrepareRun()
	if err != nil {
		return err
	}
	return prepared.Run(ctx)
}

// ControllerManager runs kube-controller-manager.
func ControllerManager() { os.Exit(cli.Run(controllermanager.NewControllerManagerCommand())) }

// Scheduler runs kube-scheduler.
func Scheduler() { os.Exit(cli.Run(scheduler.NewSchedulerCommand())) }

// Kubelet runs kubelet.
func Kubelet() { os.Exit(cli.Run(kubelet.NewKubeletCommand(context.Background()))) }

// Proxy runs kube-proxy.
func Proxy() { os.Exit(cli.Run(proxy.NewProxyCommand())) }

// Kubectl runs kubectl.
func Kubectl() {
	_, _ = logs.GlogSetter(kubectl.GetLogVerbosity(os.Args))
	if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
		kubectlutil.CheckErr(err)
	}
	os.Exit(0)
}

// Containerd runs containerd.
func Containerd() { run("containerd", command.App().Run) }

// Ctr runs containerd's client.
func Ctr() { run("ctr", ctr.New().Run) }

// Kine runs kine, the etcd API on SQLite.
func Kine() { run("kine", kine.New().Run) }

// Etcd runs an etcd member.
func Etcd() {
	etcdmain.Main(os.Args)
	os.Exit(0)
}

func run(name string, main func([]string) error) {
	if err := main(os.Args); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %s\n", name, err)
		os.Exit(1)
	}
	os.Exit(0)
}
