package network

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"syscall"

	"github.com/coreos/go-iptables/iptables"
	log "github.com/sirupsen/logrus"
	"github.com/vishvananda/netlink"
)

const (
	// protocol marks our routes, so that those of nodes that left can be distinguished from others.
	protocol netlink.RouteProtocol = 107

	vxlanName     = "flannel.1" // the name that k3s-killall.sh and operators look for
	vxlanID       = 1
	vxlanPort     = 8472
	vxlanOverhead = 50
	defaultMTU    = 1500
)

// Names that start with CNI- are also swept by k3s-killall.sh.
const (
	chainNAT     = "CNI-K3S-MASQ"
	chainForward = "CNI-K3S-FWD"
)

func hostGateway(peers []peer) map[string]*netlink.Route {
	routes := map[string]*netlink.Route{}
	for _, p := range peers {
		routes[p.pods.String()] = &netlink.Route{Dst: p.pods, Gw: p.ip, Protocol: protocol}
	}
	return routes
}

// syncRoutes makes our routes of one link (or of all, with -1) exactly the wanted ones.
func syncRoutes(want map[string]*netlink.Route, link int) error {
	filter := &netlink.Route{Protocol: protocol}
	mask := netlink.RT_FILTER_PROTOCOL
	if link >= 0 {
		filter.LinkIndex = link
		mask |= netlink.RT_FILTER_OIF
	}
	have, err := netlink.RouteListFiltered(netlink.FAMILY_V4, filter, mask)
	if err != nil {
		return fmt.Errorf("listing routes: %w", err)
	}
	var errs []error
	for i := range have {
		wanted, ok := want[have[i].Dst.String()]
		if ok && wanted.Gw.Equal(have[i].Gw) {
			continue
		}
		if err := netlink.RouteDel(&have[i]); err != nil && !errors.Is(err, syscall.ESRCH) {
			errs = append(errs, fmt.Errorf("deleting route to %s: %w", have[i].Dst, err))
		}
	}
	for dst, r := range want {
		err := netlink.RouteReplace(r)
		switch {
		case errors.Is(err, syscall.ENETUNREACH):
			// As flannel does: after a move each Node has its address of before, until its own kubelet has started.
			log.Warnf("No route to pods %s by %s: host-gw needs all nodes on one network", dst, r.Gw)
		case err != nil:
			errs = append(errs, fmt.Errorf("route to pods %s by %s: %w", dst, r.Gw, err))
		}
	}
	return errors.Join(errs...)
}

// vtepMAC is the same on every node without an exchange: it follows from the node's name.
func vtepMAC(node string) net.HardwareAddr {
	sum := sha256.Sum256([]byte(node))
	mac := net.HardwareAddr(sum[:6])
	mac[0] = mac[0]&^1 | 2 // unicast, locally administered
	return mac
}

func linkOf(ip net.IP) (netlink.Link, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, err
	}
	for _, l := range links {
		addrs, err := netlink.AddrList(l, netlink.FAMILY_V4)
		if err != nil {
			return nil, err
		}
		for _, a := range addrs {
			if a.IP.Equal(ip) {
				return l, nil
			}
		}
	}
	return nil, fmt.Errorf("no interface has the node's address %s", ip)
}

func vxlanMTU(nodeIP net.IP) int {
	if l, err := linkOf(nodeIP); err == nil && l.Attrs().MTU > vxlanOverhead {
		return l.Attrs().MTU - vxlanOverhead
	}
	return defaultMTU - vxlanOverhead
}

// syncVXLAN makes the overlay's device, and for each peer a route, a neighbour and a forwarding entry.
func syncVXLAN(nodeName string, nodeIP net.IP, own *net.IPNet, peers []peer) error {
	parent, err := linkOf(nodeIP)
	if err != nil {
		return err
	}
	device, err := netlink.LinkByName(vxlanName)
	if old, ok := device.(*netlink.Vxlan); err == nil && (!ok || old.VtepDevIndex != parent.Attrs().Index) {
		if err := netlink.LinkDel(device); err != nil {
			return err
		}
		device = nil
	}
	if err != nil || device == nil {
		device = &netlink.Vxlan{
			LinkAttrs:    netlink.LinkAttrs{Name: vxlanName, HardwareAddr: vtepMAC(nodeName), MTU: parent.Attrs().MTU - vxlanOverhead},
			VxlanId:      vxlanID,
			VtepDevIndex: parent.Attrs().Index,
			SrcAddr:      nodeIP,
			Port:         vxlanPort,
			Learning:     false,
		}
		if err := netlink.LinkAdd(device); err != nil {
			return fmt.Errorf("making %s: %w", vxlanName, err)
		}
		if device, err = netlink.LinkByName(vxlanName); err != nil {
			return err
		}
	}
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: own.IP, Mask: net.CIDRMask(32, 32)}}
	if err := netlink.AddrReplace(device, addr); err != nil {
		return fmt.Errorf("address of %s: %w", vxlanName, err)
	}
	if err := netlink.LinkSetUp(device); err != nil {
		return err
	}
	index := device.Attrs().Index
	var errs []error
	routes := map[string]*netlink.Route{}
	for _, p := range peers {
		mac := vtepMAC(p.name)
		// The peer's overlay address is the network address of its pods, as with flannel.
		errs = append(errs,
			netlink.NeighSet(&netlink.Neigh{LinkIndex: index, State: netlink.NUD_PERMANENT, Type: syscall.RTN_UNICAST, IP: p.pods.IP, HardwareAddr: mac}),
			netlink.NeighSet(&netlink.Neigh{LinkIndex: index, State: netlink.NUD_PERMANENT, Family: syscall.AF_BRIDGE, Flags: netlink.NTF_SELF, IP: p.ip, HardwareAddr: mac}))
		routes[p.pods.String()] = &netlink.Route{LinkIndex: index, Dst: p.pods, Gw: p.pods.IP, Protocol: protocol, Flags: int(netlink.FLAG_ONLINK)}
	}
	return errors.Join(append(errs, syncRoutes(routes, -1))...)
}

// ensureRules masquerades what pods send out of the cluster, and lets their traffic be forwarded.
func (n *Network) ensureRules() error {
	tables, err := iptables.New(iptables.Timeout(10))
	if err != nil {
		return err
	}
	for _, c := range []struct {
		table, chain, parent string
		rules                [][]string
	}{
		{"nat", chainNAT, "POSTROUTING", [][]string{
			{"-s", n.ClusterCIDR, "-d", n.ClusterCIDR, "-j", "RETURN"},
			{"-s", n.ClusterCIDR, "!", "-d", "224.0.0.0/4", "-j", "MASQUERADE"},
		}},
		{"filter", chainForward, "FORWARD", [][]string{
			{"-s", n.ClusterCIDR, "-j", "ACCEPT"},
			{"-d", n.ClusterCIDR, "-j", "ACCEPT"},
		}},
	} {
		exists, err := tables.ChainExists(c.table, c.chain)
		if err == nil && !exists {
			err = tables.NewChain(c.table, c.chain)
		}
		if err != nil {
			return err
		}
		for _, rule := range c.rules {
			if err := tables.AppendUnique(c.table, c.chain, rule...); err != nil {
				return err
			}
		}
		// Last, so that a half-made chain is not used.
		if err := tables.AppendUnique(c.table, c.parent, "-j", c.chain); err != nil {
			return err
		}
	}
	return nil
}
