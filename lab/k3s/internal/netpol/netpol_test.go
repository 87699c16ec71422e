package netpol

import "testing"

func TestOptions(t *testing.T) {
	p := &Policies{NodeName: "pi-02", ServiceCIDR: "10.9.0.0/16", NodePortRange: "31000-31999"}
	o := p.options()
	// The controller wants a colon, as iptables does.
	if o.NodePortRange != "31000:31999" || o.ClusterIPCIDRs[0] != "10.9.0.0/16" || o.HostnameOverride != "pi-02" {
		t.Errorf("got %q, %v, %q", o.NodePortRange, o.ClusterIPCIDRs, o.HostnameOverride)
	}
	if !o.EnableIPv4 || o.EnableIPv6 || o.RunRouter || o.RunServiceProxy {
		t.Errorf("more than policies for IPv4: %+v", o)
	}
}
