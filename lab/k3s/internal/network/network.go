// Package network connects pods: a bridge per node by the CNI plugins, routes between nodes (host-gw) or a VXLAN
// overlay, and masquerading of what leaves the cluster. It stands where k3s has flannel.
package network

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"time"

	log "github.com/sirupsen/logrus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"

	"edge-ai/lab/k3s/internal/files"
)

// resync is how often routes and rules are corrected without a known change.
const resync = 30 * time.Second

// Network is the pod network of this node.
type Network struct {
	Kubeconfig  string
	NodeName    string
	NodeIP      string
	Backend     string // host-gw, vxlan or none
	ClusterCIDR string
	ConfDir     string // of CNI

	nodes listers.NodeLister
}

// peer is another node: where its pods are.
type peer struct {
	name string
	ip   net.IP
	pods *net.IPNet
}

// Start waits until this node has its pod network, connects it, and keeps routes in step with the Nodes until ctx ends.
func (n *Network) Start(ctx context.Context) error {
	config, err := clientcmd.BuildConfigFromFlags("", n.Kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	informer := factory.Core().V1().Nodes()
	n.nodes = informer.Lister()
	changed := make(chan struct{}, 1)
	poke := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	if _, err := informer.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { poke() },
		UpdateFunc: func(old, now any) { pokeIfMoved(old, now, poke) },
		DeleteFunc: func(any) { poke() },
	}); err != nil {
		return err
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())

	var own *net.IPNet
	for own == nil {
		if node, err := n.nodes.Get(n.NodeName); err == nil && node.Spec.PodCIDR != "" {
			if _, own, err = net.ParseCIDR(node.Spec.PodCIDR); err != nil {
				return err
			}
			break
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
	if n.Backend == "none" {
		log.Infof("flannel-backend is none: pod network %s is left to another CNI", own)
		return nil
	}
	if err := n.sync(own); err != nil {
		return err
	}
	if err := n.writeConf(own); err != nil {
		return err
	}
	log.Infof("Pod network %s is up (%s)", own, n.Backend)
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-changed:
			case <-time.After(resync):
			}
			if err := n.sync(own); err != nil {
				log.Errorf("Pod network: %v", err)
			}
		}
	}()
	return nil
}

func (n *Network) sync(own *net.IPNet) error {
	if err := n.ensureRules(); err != nil {
		return err
	}
	nodes, err := n.nodes.List(labels.Everything())
	if err != nil {
		return err
	}
	var peers []peer
	for _, node := range nodes {
		if p, ok := toPeer(node); ok && node.Name != n.NodeName {
			peers = append(peers, p)
		}
	}
	if n.Backend == "vxlan" {
		return syncVXLAN(n.NodeName, net.ParseIP(n.NodeIP), own, peers)
	}
	return syncRoutes(hostGateway(peers), -1)
}

func toPeer(node *corev1.Node) (peer, bool) {
	_, pods, err := net.ParseCIDR(node.Spec.PodCIDR)
	if err != nil {
		return peer{}, false
	}
	for _, a := range node.Status.Addresses {
		if a.Type == corev1.NodeInternalIP {
			ip := net.ParseIP(a.Address)
			return peer{node.Name, ip, pods}, ip != nil
		}
	}
	return peer{}, false
}

// pokeIfMoved ignores the heartbeats of nodes.
func pokeIfMoved(old, now any, poke func()) {
	a, okA := old.(*corev1.Node)
	b, okB := now.(*corev1.Node)
	if !okA || !okB {
		return
	}
	pa, hadA := toPeer(a)
	pb, hasB := toPeer(b)
	if hadA != hasB || a.Spec.PodCIDR != b.Spec.PodCIDR || (hasB && !pa.ip.Equal(pb.ip)) {
		poke()
	}
}

// writeConf gives containerd the CNI configuration, by rename, so that the node turns ready in one step.
func (n *Network) writeConf(own *net.IPNet) error {
	bridge := map[string]any{
		"type":             "bridge",
		"bridge":           "cni0",
		"isDefaultGateway": true,
		"hairpinMode":      true,
		"ipam": map[string]any{
			"type":   "host-local",
			"ranges": [][]map[string]string{{{"subnet": own.String()}}},
			"routes": []map[string]string{{"dst": n.ClusterCIDR}},
		},
	}
	if n.Backend == "vxlan" {
		bridge["mtu"] = vxlanMTU(net.ParseIP(n.NodeIP))
	}
	portmap := map[string]any{"type": "portmap", "capabilities": map[string]bool{"portMappings": true}}
	text, err := json.MarshalIndent(map[string]any{
		"name":       "cbr0",
		"cniVersion": "1.0.0",
		"plugins":    []any{bridge, portmap},
	}, "", "  ")
	if err != nil {
		return err
	}
	file := filepath.Join(n.ConfDir, "10-k3s.conflist")
	if err := files.Write(file, append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("CNI configuration: %w", err)
	}
	return nil
}
