// Package servicelb gives Services of type LoadBalancer the addresses of nodes, as k3s's ServiceLB does.
//
// k3s runs a pod with a host port per node and publishes the addresses of those that are ready. Packets to a node's own
// address are taken by kube-proxy before they reach such a pod, so here there are only the addresses.
package servicelb

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	log "github.com/sirupsen/logrus"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// EnableLabel makes an allow list: when any node has it, only nodes that have it as "true" are used.
const EnableLabel = "svccontroller.k3s.cattle.io/enablelb"

// resync is how often addresses are corrected without a known change.
const resync = time.Minute

// Run keeps the addresses in step until ctx ends. Each server does so: all of them come to the same result.
func Run(ctx context.Context, client kubernetes.Interface) {
	factory := informers.NewSharedInformerFactory(client, 0)
	services, nodes := factory.Core().V1().Services(), factory.Core().V1().Nodes()
	endpointSlices := factory.Discovery().V1().EndpointSlices()
	changed := make(chan struct{}, 1)
	poke := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	handler := cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { poke() },
		UpdateFunc: func(any, any) { poke() },
		DeleteFunc: func(any) { poke() },
	}
	for _, informer := range []cache.SharedIndexInformer{services.Informer(), nodes.Informer(), endpointSlices.Informer()} {
		if _, err := informer.AddEventHandler(handler); err != nil {
			log.Errorf("ServiceLB: %v", err)
			return
		}
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-time.After(resync):
		}
		all, err := services.Lister().List(labels.Everything())
		if err == nil {
			var known []*corev1.Node
			if known, err = nodes.Lister().List(labels.Everything()); err == nil {
				var endpoints []*discoveryv1.EndpointSlice
				if endpoints, err = endpointSlices.Lister().List(labels.Everything()); err == nil {
					err = sync(ctx, client, all, known, endpoints)
				}
			}
		}
		if err != nil {
			log.Errorf("ServiceLB: %v", err)
		}
	}
}

func sync(ctx context.Context, client kubernetes.Interface, services []*corev1.Service, nodes []*corev1.Node, endpoints []*discoveryv1.EndpointSlice) error {
	var errs []error
	for _, service := range services {
		if service.Spec.Type != corev1.ServiceTypeLoadBalancer || service.Spec.LoadBalancerClass != nil {
			continue
		}
		want := ingress(Addresses(service, nodes, endpoints))
		if reflect.DeepEqual(service.Status.LoadBalancer.Ingress, want) {
			continue
		}
		service = service.DeepCopy()
		service.Status.LoadBalancer.Ingress = want
		_, err := client.CoreV1().Services(service.Namespace).UpdateStatus(ctx, service, metav1.UpdateOptions{})
		if err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("%s/%s: %w", service.Namespace, service.Name, err))
		}
	}
	return errors.Join(errs...)
}

// Addresses are those at which a Service is reached: of each ready node its external addresses or else its internal
// ones, in order. With externalTrafficPolicy Local these are the nodes that run a ready pod of it.
func Addresses(service *corev1.Service, nodes []*corev1.Node, endpoints []*discoveryv1.EndpointSlice) []string {
	listed := slices.ContainsFunc(nodes, func(n *corev1.Node) bool { return n.Labels[EnableLabel] != "" })
	local := service.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
	var found []string
	for _, node := range nodes {
		if !ready(node) || (listed && node.Labels[EnableLabel] != "true") || (local && !serves(node.Name, service, endpoints)) {
			continue
		}
		addresses := ofType(node, corev1.NodeExternalIP)
		if len(addresses) == 0 {
			addresses = ofType(node, corev1.NodeInternalIP)
		}
		found = append(found, addresses...)
	}
	slices.Sort(found)
	return slices.Compact(found)
}

func ready(node *corev1.Node) bool {
	return slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}

func ofType(node *corev1.Node, kind corev1.NodeAddressType) []string {
	var found []string
	for _, a := range node.Status.Addresses {
		if a.Type == kind {
			found = append(found, a.Address)
		}
	}
	return found
}

// serves reports whether a node runs a ready pod of a Service.
func serves(node string, service *corev1.Service, endpoints []*discoveryv1.EndpointSlice) bool {
	for _, slice := range endpoints {
		if slice.Namespace != service.Namespace || slice.Labels[discoveryv1.LabelServiceName] != service.Name {
			continue
		}
		for _, e := range slice.Endpoints {
			if e.NodeName != nil && *e.NodeName == node && (e.Conditions.Ready == nil || *e.Conditions.Ready) {
				return true
			}
		}
	}
	return false
}

func ingress(addresses []string) []corev1.LoadBalancerIngress {
	mode := corev1.LoadBalancerIPModeVIP
	var found []corev1.LoadBalancerIngress
	for _, a := range addresses {
		found = append(found, corev1.LoadBalancerIngress{IP: a, IPMode: &mode})
	}
	return found
}
