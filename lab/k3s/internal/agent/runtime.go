package agent

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"edge-ai/lab/k3s/internal/config"
	"edge-ai/lab/k3s/internal/files"
	"edge-ai/lab/k3s/internal/kubeconfig"
	"edge-ai/lab/k3s/internal/routes"
	"edge-ai/lab/k3s/internal/supervise"
)

// RuntimeDir is containerd's place for sockets and state that a reboot may lose; Socket is where it listens.
const (
	RuntimeDir = "/run/k3s/containerd"
	Socket     = RuntimeDir + "/containerd.sock"
)

const containerdConfig = `# Written by k3s at each start.
version = 3
root = %[1]q
state = %[2]q

[grpc]
  address = %[3]q

[plugins.'io.containerd.grpc.v1.cri']
  stream_server_address = "127.0.0.1"
  stream_server_port = "10010"

[plugins.'io.containerd.cri.v1.images']
  snapshotter = "overlayfs"
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = %[4]q
  [plugins.'io.containerd.cri.v1.images'.registry]
    config_path = %[5]q

[plugins.'io.containerd.cri.v1.runtime']
  enable_unprivileged_ports = true
  enable_unprivileged_icmp = true
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = [%[6]q]
    conf_dir = %[7]q
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
      BinaryName = %[8]q
      SystemdCgroup = true
`

// startContainerd writes its configuration and starts it; pods of an earlier start are adopted by containerd itself.
func (a *Agent) startContainerd(ctx context.Context) error {
	etc := filepath.Join(a.dir, "etc", "containerd")
	file := filepath.Join(etc, "config.toml")
	text := fmt.Sprintf(containerdConfig, filepath.Join(a.dir, "containerd"), RuntimeDir, Socket, a.Config.PauseImage,
		filepath.Join(etc, "certs.d"), a.Bin, a.cniDir(), filepath.Join(a.Bin, "runc"))
	if err := files.Write(file, []byte(text), 0o600); err != nil {
		return err
	}
	if err := writeRegistries(a.Config.PrivateRegistry, filepath.Join(etc, "certs.d")); err != nil {
		return err
	}
	if err := os.MkdirAll(RuntimeDir, 0o711); err != nil {
		return err
	}
	a.Group.Start(supervise.Component{
		Name:  "containerd",
		Args:  []string{"--config", file, "--log-level", "info"},
		Phase: 3,
	})
	for {
		conn, err := net.Dial("unix", Socket)
		if err == nil {
			return conn.Close()
		}
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

const kubeletConfig = `# Written by k3s at each start. Files of this directory that sort later override it.
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous:
    enabled: false
  webhook:
    enabled: true
  x509:
    clientCAFile: %[1]s/client-ca.crt
authorization:
  mode: Webhook
cgroupDriver: systemd
clusterDNS: [%[2]s]
clusterDomain: %[3]s
containerRuntimeEndpoint: unix://%[4]s
evictionHard:
  imagefs.available: 5%%
  nodefs.available: 5%%
evictionMinimumReclaim:
  imagefs.available: 10%%
  nodefs.available: 10%%
eventRecordQPS: 0
failSwapOn: false
healthzBindAddress: 127.0.0.1
logging:
  verbosity: %[5]d
protectKernelDefaults: %[6]t
resolvConf: %[7]s
serializeImagePulls: false
shutdownGracePeriod: 0s
shutdownGracePeriodCriticalPods: 0s
staticPodPath: %[1]s/pod-manifests
tlsCertFile: %[1]s/serving-kubelet.crt
tlsPrivateKeyFile: %[1]s/serving-kubelet.key
volumePluginDir: %[1]s/libexec/kubernetes/kubelet-plugins/volume/exec
`

func (a *Agent) startKubelet(cluster *routes.Cluster) error {
	resolv, err := resolvConf(a.Config, filepath.Join(a.dir, "etc"))
	if err != nil {
		return err
	}
	confDir := filepath.Join(a.dir, "etc", "kubelet.conf.d")
	text := fmt.Sprintf(kubeletConfig, a.dir, cluster.ClusterDNS, cluster.ClusterDomain, Socket, a.Config.Verbosity,
		a.Config.ProtectKernelDefaults, resolv)
	if err := files.Write(filepath.Join(confDir, "00-k3s-defaults.conf"), []byte(text), 0o600); err != nil {
		return err
	}
	kubeconfig, err := a.kubeconfig("kubelet.kubeconfig", "client-kubelet")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(a.dir, "pod-manifests"), 0o700); err != nil {
		return err
	}
	args := []string{"--config-dir=" + confDir, "--kubeconfig=" + kubeconfig, "--hostname-override=" + a.nodeName, "--node-ip=" + a.nodeIP}
	if len(a.Config.NodeLabels) > 0 {
		args = append(args, "--node-labels="+strings.Join(a.Config.NodeLabels, ","))
	}
	if len(a.Config.NodeTaints) > 0 {
		args = append(args, "--register-with-taints="+strings.Join(a.Config.NodeTaints, ","))
	}
	a.Group.Start(supervise.Component{
		Name:  "kubelet",
		Args:  config.Flags(args, a.Config.KubeletArgs),
		Phase: 1,
		Fatal: kernelDiffers,
	})
	return nil
}

// kernelDiffers ends k3s at once when kubelet refuses the machine's sysctls (protect-kernel-defaults).
func kernelDiffers(lines string) error {
	for line := range strings.Lines(lines) {
		if strings.Contains(line, "invalid kernel flag") {
			return fmt.Errorf("kubelet exited: %s", strings.TrimSpace(line))
		}
	}
	return nil
}

func (a *Agent) startProxy(cluster *routes.Cluster) error {
	kubeconfig, err := a.kubeconfig("kubeproxy.kubeconfig", "client-kube-proxy")
	if err != nil {
		return err
	}
	args := []string{
		"--kubeconfig=" + kubeconfig,
		"--proxy-mode=iptables",
		"--cluster-cidr=" + cluster.ClusterCIDR,
		"--hostname-override=" + a.nodeName,
		"--healthz-bind-address=127.0.0.1:10256",
		// The main process has set these itself.
		"--conntrack-max-per-core=0",
		"--conntrack-tcp-timeout-established=0s",
		"--conntrack-tcp-timeout-close-wait=0s",
	}
	a.Group.Start(supervise.Component{Name: "kube-proxy", Args: config.Flags(args, a.Config.KubeProxyArgs), Phase: 1})
	return nil
}

func (a *Agent) kubeconfig(name, client string) (string, error) {
	file := filepath.Join(a.dir, name)
	return file, kubeconfig.Write(file, kubeconfig.For(a.apiURL, filepath.Join(a.dir, "server-ca.crt"), filepath.Join(a.dir, client)), 0o600)
}
