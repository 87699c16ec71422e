// Command k3s is the lab's stand-in for k3s: upstream Kubernetes, containerd and kine in one binary, with the part of
// k3s's contract that this project's roles and tests use. See README.md for what differs.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	log "github.com/sirupsen/logrus"

	"edge-ai/lab/k3s/internal/agent"
	"edge-ai/lab/k3s/internal/bundle"
	"edge-ai/lab/k3s/internal/cli"
	"edge-ai/lab/k3s/internal/components"
	"edge-ai/lab/k3s/internal/config"
	"edge-ai/lab/k3s/internal/routes"
	"edge-ai/lab/k3s/internal/server"
	"edge-ai/lab/k3s/internal/supervise"
	"edge-ai/lab/k3s/internal/version"
)

const usage = `k3s %s: the lab's stand-in for k3s (not for real boards)

Usage: k3s COMMAND [OPTIONS]

  server          run a server
  agent           run an agent
  kubectl         run kubectl
  crictl          run a small part of crictl
  ctr             run containerd's client
  token           manage bootstrap tokens, change the server's token
  certificate     check this machine's certificates, or replace them
  secrets-encrypt report whether Secrets are encrypted
  etcd-snapshot   save, list, delete and prune snapshots of etcd
  --version       print the version
`

func main() {
	name := filepath.Base(os.Args[0])
	if name != "k3s" && dispatch(name, os.Args[1:]) {
		return
	}
	if len(os.Args) < 2 {
		fmt.Printf(usage, version.Version)
		return
	}
	switch command := os.Args[1]; command {
	case "--version", "-v", "version":
		fmt.Print(version.Print())
	case "--help", "-h", "help":
		fmt.Printf(usage, version.Version)
	case string(config.Server), string(config.Agent):
		if err := run(config.Role(command), os.Args[2:]); err != nil {
			log.Fatal(err)
		}
	default:
		if !dispatch(command, os.Args[2:]) {
			log.Fatalf("No help topic for '%s': this lab build has no such command", command)
		}
	}
}

// dispatch runs a component or a tool by its name; it returns false when there is none of that name.
func dispatch(name string, args []string) bool {
	program := map[string]func(){
		"kube-apiserver":          apiServer,
		"kube-controller-manager": components.ControllerManager,
		"kube-scheduler":          components.Scheduler,
		"kubelet":                 components.Kubelet,
		"kube-proxy":              components.Proxy,
		"kubectl":                 components.Kubectl,
		"containerd":              components.Containerd,
		"ctr":                     components.Ctr,
		"kine":                    components.Kine,
		"etcd":                    components.Etcd,
	}[name]
	tool := map[string]func([]string) error{
		"crictl":          func(args []string) error { return cli.Crictl(args, agent.Socket) },
		"token":           cli.Token,
		"etcd-snapshot":   cli.EtcdSnapshot,
		"certificate":     cli.Certificate,
		"secrets-encrypt": cli.SecretsEncrypt,
	}[name]
	switch {
	case program != nil:
		switch name {
		case "kubectl":
			setDefault("KUBECONFIG", server.DefaultKubeconfig)
		case "ctr":
			setDefault("CONTAINERD_ADDRESS", agent.Socket)
			setDefault("CONTAINERD_NAMESPACE", "k8s.io")
			if err := unpack(); err != nil {
				log.Fatal(err)
			}
		}
		os.Args = append([]string{name}, args...)
		// Started through /proc/self/exe, the kernel would call the process "exe".
		_ = os.WriteFile("/proc/self/comm", []byte(name), 0o644)
		program()
	case tool != nil:
		if err := tool(args); err != nil {
			log.Fatal(err)
		}
	default:
		return false
	}
	return true
}

// unpack makes the data directory's programs where there are none, as k3s does before it runs one of them. Only root may.
func unpack() error {
	setDefault("K3S_DATA_DIR", config.DefaultDataDir)
	data := filepath.Join(os.Getenv("K3S_DATA_DIR"), "data")
	if _, err := os.Stat(filepath.Join(data, "current")); err == nil || os.Getuid() != 0 {
		return nil
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	_, err = bundle.Extract(data, exe)
	return err
}

func setDefault(variable, value string) {
	if os.Getenv(variable) == "" {
		os.Setenv(variable, value)
	}
}

func apiServer() {
	wrap, err := routes.Load(os.Getenv("K3S_SUPERVISOR_OPTIONS"))
	if err != nil {
		log.Fatalf("supervisor routes: %v", err)
	}
	components.APIServer(wrap)
}

// run is `k3s server` and `k3s agent`.
func run(role config.Role, args []string) error {
	for _, a := range args {
		if a == "--help" || a == "-h" {
			fmt.Printf("Usage: k3s %s [--KEY VALUE]...; keys are those of config.yaml, see lab/k3s/README.md\n", role)
			return nil
		}
	}
	c, err := config.Load(role, args)
	if err != nil {
		return err
	}
	if c.Debug {
		log.SetLevel(log.DebugLevel)
	}
	if os.Getuid() != 0 {
		return fmt.Errorf("must be run as root")
	}
	runAgent := !c.DisableAgent
	if runAgent && !c.ClusterReset {
		if err := agent.CheckCgroups(); err != nil {
			return err
		}
	}
	log.Infof("Starting k3s %s (%s)", version.Version, version.Commit)
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	bin := ""
	if runAgent && !c.ClusterReset {
		if bin, err = bundle.Extract(filepath.Join(c.DataDir, "data"), exe); err != nil {
			return err
		}
	}

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	group := supervise.NewGroup(os.Stderr)
	failed := make(chan error, 1)
	reset := make(chan struct{})
	go func() {
		if c.ClusterReset {
			s := &server.Server{Config: c, Group: group}
			if err := s.Reset(ctx); err != nil {
				failed <- err
				return
			}
			close(reset)
			return
		}
		if err := start(ctx, c, group, bin); err != nil {
			failed <- err
		}
	}()
	select {
	case <-reset:
		return nil
	case <-ctx.Done():
		log.Info("Stopping; pods go on running")
		err = nil
	case err = <-failed:
	case err = <-group.Failed():
	}
	stop()
	_, _ = daemon.SdNotify(false, daemon.SdNotifyStopping)
	started := time.Now()
	group.Stop()
	log.Infof("Components ended after %s", time.Since(started).Round(10*time.Millisecond))
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func start(ctx context.Context, c *config.Config, group *supervise.Group, bin string) error {
	a := &agent.Agent{Config: c, Group: group, Bin: bin, URL: c.ServerURL, Token: c.Token}
	if c.Role == config.Server {
		s := &server.Server{Config: c, Group: group}
		if err := s.Start(ctx); err != nil {
			return err
		}
		if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
			return err
		}
		if c.DisableAgent {
			return nil
		}
		a.URL, a.Token, a.Direct = s.URL(), s.Token(), true
	}
	if err := a.Run(ctx); err != nil {
		return err
	}
	log.Info("k3s is up: " + strings.ToLower(c.NodeName))
	if c.Role == config.Agent {
		_, err := daemon.SdNotify(false, daemon.SdNotifyReady)
		return err
	}
	return nil
}
