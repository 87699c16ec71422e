package servicelb

import (
	"context"
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

func node(name, ip string, up corev1.ConditionStatus, labels map[string]string) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
		Status: corev1.NodeStatus{
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: up}},
			Addresses:  []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: name}, {Type: corev1.NodeInternalIP, Address: ip}},
		},
	}
}

func service(name string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: name},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer},
	}
}

func TestAddresses(t *testing.T) {
	one, two := node("one", "10.0.0.2", corev1.ConditionTrue, nil), node("two", "10.0.0.1", corev1.ConditionTrue, nil)
	away := node("away", "10.0.0.3", corev1.ConditionUnknown, nil)
	chosen := node("chosen", "10.0.0.4", corev1.ConditionTrue, map[string]string{EnableLabel: "true"})
	public := node("public", "10.0.0.5", corev1.ConditionTrue, nil)
	public.Status.Addresses = append(public.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeExternalIP, Address: "192.0.2.1"})
	local := service("local")
	local.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	yes, no, name1, name2 := true, false, "one", "two"
	endpoints := []*discoveryv1.EndpointSlice{
		{
			ObjectMeta: metav1.ObjectMeta{Namespace: "a", Labels: map[string]string{discoveryv1.LabelServiceName: "local"}},
			Endpoints: []discoveryv1.Endpoint{
				{NodeName: &name1, Conditions: discoveryv1.EndpointConditions{Ready: &yes}},
				{NodeName: &name2, Conditions: discoveryv1.EndpointConditions{Ready: &no}},
			},
		},
		{
			ObjectMeta: metav1.ObjectMeta{Namespace: "b", Labels: map[string]string{discoveryv1.LabelServiceName: "local"}},
			Endpoints:  []discoveryv1.Endpoint{{NodeName: &name2}},
		},
	}
	for _, c := range []struct {
		name    string
		service *corev1.Service
		nodes   []*corev1.Node
		want    []string
	}{
		{"ready nodes, in order", service("x"), []*corev1.Node{one, two, away}, []string{"10.0.0.1", "10.0.0.2"}},
		{"an allow list", service("x"), []*corev1.Node{one, two, chosen}, []string{"10.0.0.4"}},
		{"an external address", service("x"), []*corev1.Node{one, public}, []string{"10.0.0.2", "192.0.2.1"}},
		{"only where its pods are ready", local, []*corev1.Node{one, two}, []string{"10.0.0.2"}},
	} {
		if got := Addresses(c.service, c.nodes, endpoints); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestSync(t *testing.T) {
	mine, others, plain := service("mine"), service("others"), service("plain")
	class := "example.com/lb"
	others.Spec.LoadBalancerClass = &class
	plain.Spec.Type = corev1.ServiceTypeClusterIP
	client := fake.NewClientset(mine, others, plain)
	nodes := []*corev1.Node{node("one", "10.0.0.1", corev1.ConditionTrue, nil)}
	if err := sync(context.Background(), client, []*corev1.Service{mine, others, plain}, nodes, nil); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"mine": "10.0.0.1", "others": "", "plain": ""} {
		got, err := client.CoreV1().Services("a").Get(context.Background(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var ip string
		if entries := got.Status.LoadBalancer.Ingress; len(entries) == 1 {
			ip = entries[0].IP
		}
		if ip != want {
			t.Errorf("%s: %q, want %q", name, ip, want)
		}
	}
}
