// Package agent makes a machine a node: certificates from the server, containerd, kubelet, kube-proxy, pod network.
package agent

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	log "github.com/sirupsen/logrus"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"edge-ai/lab/k3s/internal/certcheck"
	"edge-ai/lab/k3s/internal/config"
	"edge-ai/lab/k3s/internal/images"
	"edge-ai/lab/k3s/internal/netpol"
	"edge-ai/lab/k3s/internal/network"
	"edge-ai/lab/k3s/internal/nodepassword"
	"edge-ai/lab/k3s/internal/passwd"
	"edge-ai/lab/k3s/internal/routes"
	"edge-ai/lab/k3s/internal/supervise"
	"edge-ai/lab/k3s/internal/token"
)

// Agent is what a node runs; a server runs one too.
type Agent struct {
	Config *config.Config
	Group  *supervise.Group
	Bin    string // directory with runc, the shim and CNI plugins
	URL    string // of the server to join; the server's own agent uses the loopback address
	Token  string
	// Direct means that the API server is on this machine: no load balancer.
	Direct bool

	dir      string
	nodeName string
	nodeIP   string
	apiURL   string
}

func (a *Agent) cniDir() string { return filepath.Join(a.dir, "etc", "cni", "net.d") }

// NodeName is the name under which the machine registers.
func NodeName(c *config.Config) (string, error) {
	if !c.WithNodeID {
		return c.NodeName, nil
	}
	id, err := nodepassword.EnsureID(nodepassword.Dir)
	return c.NodeName + "-" + id, err
}

// Run joins and starts everything; it returns when the node is registered and its network is up.
func (a *Agent) Run(ctx context.Context) error {
	a.dir = filepath.Join(a.Config.DataDir, "agent")
	var err error
	if a.nodeName, err = NodeName(a.Config); err != nil {
		return err
	}
	if a.nodeIP, err = NodeIP(a.Config); err != nil {
		return err
	}
	for _, dir := range []string{"images", "etc/kubelet.conf.d"} {
		if err := os.MkdirAll(filepath.Join(a.dir, dir), 0o700); err != nil {
			return err
		}
	}
	prepareKernel()
	// containerd finds its shim by it, the shim its tools, and the network policies ipset.
	if err := os.Setenv("PATH", a.Bin+":"+os.Getenv("PATH")); err != nil {
		return err
	}

	// containerd and its images need nothing of the server: they get ready while the join waits.
	runtimeReady := make(chan error, 1)
	go func() { runtimeReady <- a.prepareRuntime(ctx) }()

	var t token.Token
	if a.Token != "" { // a node that has its certificate can do without
		if t, err = token.Parse(a.Token); err != nil {
			return err
		}
	}
	password, err := nodepassword.Ensure(nodepassword.Dir)
	if err != nil {
		return err
	}
	server, err := url.Parse(a.URL)
	if err != nil {
		return err
	}
	a.apiURL = strings.TrimSuffix(a.URL, "/")
	var lb *loadBalancer
	if !a.Direct {
		host := server.Host
		if server.Port() == "" {
			host += ":6443"
			a.URL = "https://" + host
		}
		a.apiURL = fmt.Sprintf("https://127.0.0.1:%d", a.Config.LBServerPort)
		lb = newLoadBalancer(a.URL, host, filepath.Join(a.dir, "etc", "k3s-agent-load-balancer.json"))
		if err := lb.start(ctx, a.Config.LBServerPort); err != nil {
			return err
		}
	}
	j := &joiner{url: a.apiURL, server: strings.TrimSuffix(a.URL, "/"), user: passwd.Node, token: t, dir: a.dir, nodeName: a.nodeName, nodeIP: a.nodeIP, password: password}
	if lb != nil {
		j.dial = lb.DialContext
	}
	cluster, err := j.connect(ctx)
	if err != nil {
		return err
	}
	if err := j.certificates(ctx); err != nil {
		return err
	}
	log.Infof("Joined cluster at %s as node %s (%s)", j.server, a.nodeName, a.nodeIP)
	if lb != nil {
		go lb.refresh(ctx, j.apiServers)
	}
	if !cluster.DisableKubeProxy {
		if err := a.startProxy(cluster); err != nil {
			return err
		}
	}
	if err := <-runtimeReady; err != nil {
		return err
	}
	if err := a.startKubelet(cluster); err != nil {
		return err
	}
	kubeconfig, err := a.kubeconfig("k3snetwork.kubeconfig", "client-kube-proxy")
	if err != nil {
		return err
	}
	n := &network.Network{
		Kubeconfig:  kubeconfig,
		NodeName:    a.nodeName,
		NodeIP:      a.nodeIP,
		Backend:     cluster.FlannelBackend,
		ClusterCIDR: cluster.ClusterCIDR,
		ConfDir:     a.cniDir(),
	}
	if err := n.Start(ctx); err != nil {
		return err
	}
	if !cluster.DisableNetworkPolicy {
		if err := a.startPolicies(ctx, cluster); err != nil {
			return err
		}
	}
	// As the node itself, which may write events about it.
	access, err := clientcmd.BuildConfigFromFlags("", filepath.Join(a.dir, "kubelet.kubeconfig"))
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(access)
	if err != nil {
		return err
	}
	go certcheck.Monitor(ctx, client, a.Config.DataDir, a.nodeName)
	return nil
}

// startPolicies does not wait: the rights to read policies come with the first manifests of a cluster.
func (a *Agent) startPolicies(ctx context.Context, cluster *routes.Cluster) error {
	kubeconfig, err := a.kubeconfig("k3scontroller.kubeconfig", "client-k3s-controller")
	if err != nil {
		return err
	}
	p := &netpol.Policies{Kubeconfig: kubeconfig, NodeName: a.nodeName, ServiceCIDR: cluster.ServiceCIDR, NodePortRange: cluster.NodePortRange}
	go func() {
		if err := p.Run(ctx); err != nil && ctx.Err() == nil {
			log.Errorf("Network policies: %v", err)
		}
	}()
	return nil
}

func (a *Agent) prepareRuntime(ctx context.Context) error {
	if err := a.startContainerd(ctx); err != nil {
		return fmt.Errorf("containerd: %w", err)
	}
	// A broken archive must not keep the node from the cluster: pods that need its images will say so.
	if err := images.Import(ctx, Socket, filepath.Join(a.dir, "images")); err != nil {
		log.Errorf("%v", err)
	}
	return nil
}
