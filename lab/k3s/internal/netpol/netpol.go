// Package netpol enforces NetworkPolicies on a node, with the controller of kube-router that k3s has inside too.
package netpol

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/cloudnativelabs/kube-router/v2/pkg/controllers/netpol"
	"github.com/cloudnativelabs/kube-router/v2/pkg/healthcheck"
	"github.com/cloudnativelabs/kube-router/v2/pkg/options"
	log "github.com/sirupsen/logrus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

// Policies are the NetworkPolicies of this node's pods.
type Policies struct {
	Kubeconfig    string
	NodeName      string
	ServiceCIDR   string
	NodePortRange string // 30000-32767
}

// Run runs the controller until ctx ends. A machine without ipset gets a warning and no policies, as
// with k3s.
func (p *Policies) Run(ctx context.Context) error {
	if out, err := exec.Command("ipset", "save").CombinedOutput(); err != nil {
		log.Warnf("Skipping network policy controller start, ipset save failed: %v: %s", err, strings.TrimSpace(string(out)))
		return nil
	}
	config, err := clientcmd.BuildConfigFromFlags("", p.Kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	// The controller asks once for the Node and its address; the rights to do so may be new.
	err = wait.PollUntilContextCancel(ctx, 2*time.Second, true, func(ctx context.Context) (bool, error) {
		node, err := client.CoreV1().Nodes().Get(ctx, p.NodeName, metav1.GetOptions{})
		return err == nil && len(node.Status.Addresses) > 0, nil
	})
	if err != nil {
		return err
	}
	handlers, sets, err := netpol.NewIPTablesHandlers(p.options())
	if err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	pods := factory.Core().V1().Pods().Informer()
	namespaces := factory.Core().V1().Namespaces().Informer()
	policies := factory.Networking().V1().NetworkPolicies().Informer()
	controller, err := netpol.NewNetworkPolicyController(client, p.options(), pods, policies, namespaces, &sync.Mutex{}, handlers, sets)
	if err != nil {
		return fmt.Errorf("unable to initialize network policy controller: %w", err)
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	// After the first lists: what they bring needs no event each, the first run has it all.
	for informer, handler := range map[cache.SharedIndexInformer]cache.ResourceEventHandler{
		pods: controller.PodEventHandler, namespaces: controller.NamespaceEventHandler, policies: controller.NetworkPolicyEventHandler,
	} {
		if _, err := informer.AddEventHandler(handler); err != nil {
			return err
		}
	}
	log.Info("Starting network policy controller")
	// The controller reports each time that it works, and waits until the report was read.
	beats := make(chan *healthcheck.ControllerHeartbeat)
	go func() {
		for range beats {
		}
	}()
	var running sync.WaitGroup
	running.Add(1)
	controller.Run(beats, ctx.Done(), &running)
	return nil
}

func (p *Policies) options() *options.KubeRouterConfig {
	o := options.NewKubeRouterConfig()
	o.ClusterIPCIDRs = []string{p.ServiceCIDR}
	o.EnableIPv4 = true
	o.HostnameOverride = p.NodeName
	o.NodePortRange = strings.ReplaceAll(p.NodePortRange, "-", ":")
	o.RunFirewall = true
	return o
}
