// Package etcd runs this server's member of the datastore: its certificates, its place in the cluster, snapshots.
package etcd

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	log "github.com/sirupsen/logrus"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"edge-ai/lab/k3s/internal/certs"
	"edge-ai/lab/k3s/internal/config"
	"edge-ai/lab/k3s/internal/files"
	"edge-ai/lab/k3s/internal/token"
)

// LocalURL is where a server's own components reach its member.
const LocalURL = "https://127.0.0.1:2379"

// Removed is what a member says in its log that the others have removed, before it ends.
const Removed = "permanently removed from the cluster"

// ErrDuplicate is k3s's: the cluster still has a member of a machine with this node's name.
var ErrDuplicate = errors.New("etcd cluster join failed: duplicate node name found, please use a unique name for this node, " +
	"or delete the old Node: its member goes with it")

const (
	callTimeout = 5 * time.Second
	retry       = 2 * time.Second
)

// Node is this server's member.
type Node struct {
	ServerDir     string // <data>/server
	NodeName      string
	NodeIP        string
	ExposeMetrics bool
	Args          []string // values of etcd-arg
}

// Dir is the data directory of the member.
func (n *Node) Dir() string { return filepath.Join(n.ServerDir, "db", "etcd") }

func (n *Node) tls(name string) string { return filepath.Join(n.ServerDir, "tls", "etcd", name) }
func (n *Node) peerURL() string        { return "https://" + net.JoinHostPort(n.NodeIP, "2380") }
func (n *Node) clientURL() string      { return "https://" + net.JoinHostPort(n.NodeIP, "2379") }
func (n *Node) tombstone() string      { return filepath.Join(n.Dir(), "tombstone") }

// HasData reports whether this machine was a member already.
func (n *Node) HasData() bool {
	_, err := os.Stat(filepath.Join(n.Dir(), "member"))
	return err == nil
}

// MarkRemoved marks the data of a member that was removed: the next start moves it away and joins as a new member.
func (n *Node) MarkRemoved() error { return files.Write(n.tombstone(), nil, 0o600) }

// MoveAway moves the data of a removed member out of the way; it reports whether there was any.
func (n *Node) MoveAway(now time.Time) (bool, error) {
	if _, err := os.Stat(n.tombstone()); err != nil {
		return false, nil
	}
	return true, n.rename(now)
}

func (n *Node) rename(now time.Time) error {
	err := os.Rename(n.Dir(), fmt.Sprintf("%s-old-%d", n.Dir(), now.Unix()))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Name is the member's: the node's and a random part, so that a machine that joins with an empty card is another member.
func (n *Node) Name() (string, error) {
	file := filepath.Join(n.Dir(), "name")
	data, err := os.ReadFile(file)
	if err == nil {
		if name := strings.TrimSpace(string(data)); name != "" {
			return name, nil
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	name := n.freshName()
	return name, files.Write(file, []byte(name+"\n"), 0o600)
}

func (n *Node) freshName() string { return n.NodeName + "-" + token.Random(4) }

var suffix = regexp.MustCompile(`^-[0-9a-f]{8}$`)

// ofNode reports whether a member's name is one that Name gives to a node.
func ofNode(member, node string) bool {
	rest, found := strings.CutPrefix(member, node)
	return found && suffix.MatchString(rest)
}

// Certificates makes or renews what etcd and its clients use: two CAs, for clients and for peers.
func (n *Node) Certificates(now time.Time) error {
	dir := filepath.Join(n.ServerDir, "tls", "etcd")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	serverCA, err := certs.EnsureCA(dir, "server-ca", "etcd-server-ca", now)
	if err != nil {
		return err
	}
	peerCA, err := certs.EnsureCA(dir, "peer-ca", "etcd-peer-ca", now)
	if err != nil {
		return err
	}
	both := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	names := []string{"localhost", n.NodeName}
	ips := []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback, net.ParseIP(n.NodeIP)}
	for _, l := range []struct {
		name string
		ca   *certs.CA
		leaf certs.Leaf
	}{
		{"client", serverCA, certs.Leaf{CommonName: "etcd-client", Usage: both[1:]}},
		{"server-client", serverCA, certs.Leaf{CommonName: "etcd-server", DNSNames: names, IPs: ips, Usage: both}},
		{"peer-server-client", peerCA, certs.Leaf{CommonName: "etcd-peer", DNSNames: names, IPs: ips, Usage: both}},
	} {
		if _, err := certs.EnsureLeaf(dir, l.name, l.ca, l.leaf, now); err != nil {
			return fmt.Errorf("etcd %s: %w", l.name, err)
		}
	}
	return nil
}

// Flags are etcd's. cluster is empty for a member that has data: it knows the others.
func (n *Node) Flags(name, cluster string, force bool) []string {
	state := "existing"
	if cluster == "" { // a new cluster of one, or not queried
		cluster, state = name+"="+n.peerURL(), "new"
	}
	metrics := "http://127.0.0.1:2381"
	if n.ExposeMetrics {
		metrics += ",http://" + net.JoinHostPort(n.NodeIP, "2381")
	}
	flags := []string{
		"--name=" + name,
		"--data-dir=" + n.Dir(),
		"--initial-cluster=" + cluster,
		"--initial-cluster-state=" + state,
		"--initial-advertise-peer-urls=" + n.peerURL(),
		"--listen-peer-urls=https://127.0.0.1:2380," + n.peerURL(),
		"--advertise-client-urls=" + n.clientURL(),
		"--listen-client-urls=" + LocalURL + "," + n.clientURL(),
		"--listen-metrics-urls=" + metrics,
		"--client-cert-auth=true",
		"--trusted-ca-file=" + n.tls("server-ca.crt"),
		"--cert-file=" + n.tls("server-client.crt"),
		"--key-file=" + n.tls("server-client.key"),
		"--peer-client-cert-auth=true",
		"--peer-trusted-ca-file=" + n.tls("peer-ca.crt"),
		"--peer-cert-file=" + n.tls("peer-server-client.crt"),
		"--peer-key-file=" + n.tls("peer-server-client.key"),
		// k3s's: a board writes to its card for seconds at times.
		"--heartbeat-interval=500",
		"--election-timeout=5000",
		"--log-level=warn",
	}
	if force {
		flags = append(flags, "--force-new-cluster")
	}
	return config.Flags(flags, n.Args)
}

func (n *Node) clientConfig(endpoints []string) (clientv3.Config, error) {
	info := transport.TLSInfo{CertFile: n.tls("client.crt"), KeyFile: n.tls("client.key"), TrustedCAFile: n.tls("server-ca.crt")}
	conf, err := info.ClientConfig()
	if err != nil {
		return clientv3.Config{}, err
	}
	return clientv3.Config{Endpoints: endpoints, TLS: conf, DialTimeout: callTimeout, DialKeepAliveTime: 10 * time.Second,
		DialKeepAliveTimeout: callTimeout, Logger: zap.NewNop()}, nil
}

// Client talks to the given members, or to this server's.
func (n *Node) Client(endpoints ...string) (*clientv3.Client, error) {
	if len(endpoints) == 0 {
		endpoints = []string{LocalURL}
	}
	conf, err := n.clientConfig(endpoints)
	if err != nil {
		return nil, err
	}
	return clientv3.New(conf)
}

// Endpoints are the client addresses of all members that have started.
func (n *Node) Endpoints(ctx context.Context) ([]string, error) {
	client, err := n.Client()
	if err != nil {
		return nil, err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	list, err := client.MemberList(ctx)
	if err != nil {
		return nil, err
	}
	var urls []string
	for _, m := range list.Members {
		if !m.IsLearner {
			urls = append(urls, m.ClientURLs...)
		}
	}
	return urls, nil
}

// Join makes this node a member without a vote and returns the cluster to start with; the others promote it when it has
// caught up. It waits while another server is joining, or while an old member of this node's name is there.
func (n *Node) Join(ctx context.Context, name string, endpoints []string) (string, error) {
	client, err := n.Client(endpoints...)
	if err != nil {
		return "", err
	}
	defer client.Close()
	last := ""
	for {
		cluster, err := n.tryJoin(ctx, client, name)
		if err == nil {
			return cluster, nil
		}
		if text := err.Error(); text != last { // say it once, then each time it changes
			log.Errorf("Failed to join the etcd cluster at %s: %s", strings.Join(endpoints, ","), text)
			last = text
		}
		if err := sleep(ctx, retry); err != nil {
			return "", err
		}
	}
}

func (n *Node) tryJoin(ctx context.Context, client *clientv3.Client, name string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*callTimeout)
	defer cancel()
	list, err := client.MemberList(ctx)
	if err != nil {
		return "", err
	}
	p := makePlan(list.Members, n.NodeName, n.peerURL())
	if p.err != nil {
		return "", p.err
	}
	if p.remove != 0 {
		if _, err := client.MemberRemove(ctx, p.remove); err != nil {
			return "", err
		}
		return n.tryJoin(ctx, client, name)
	}
	if !p.added {
		_, err := client.MemberAddAsLearner(ctx, []string{n.peerURL()})
		if errors.Is(err, rpctypes.ErrTooManyLearners) {
			return "", errors.New("another server is joining; waiting for it")
		}
		if err != nil {
			return "", err
		}
	}
	return strings.Join(append(p.cluster, name+"="+n.peerURL()), ","), nil
}

// plan is what a joining node makes of the members that there are.
type plan struct {
	cluster []string // name=URL of the others
	added   bool     // an earlier try of this node was added, and has not started
	remove  uint64   // an earlier try of this node that started and never got a vote
	err     error
}

func makePlan(members []*etcdserverpb.Member, node, peerURL string) plan {
	var p plan
	for _, m := range members {
		mine := slices.Contains(m.PeerURLs, peerURL) || ofNode(m.Name, node)
		switch {
		case mine && m.Name == "":
			p.added = true
		case mine && m.IsLearner:
			p.remove = m.ID
		case mine:
			p.err = ErrDuplicate
		case m.Name == "":
			p.err = fmt.Errorf("another server (%s) is joining; waiting for it", strings.Join(m.PeerURLs, ","))
		default:
			for _, u := range m.PeerURLs {
				p.cluster = append(p.cluster, m.Name+"="+u)
			}
		}
	}
	return p
}

// WaitReady returns when the member has a vote and answers with the cluster's consent.
func (n *Node) WaitReady(ctx context.Context, client *clientv3.Client) error {
	started, logged := time.Now(), time.Now()
	for {
		limited, cancel := context.WithTimeout(ctx, callTimeout)
		_, err := client.Get(limited, "health")
		cancel()
		if err == nil {
			return nil
		}
		if time.Since(logged) > 30*time.Second {
			log.Warnf("etcd does not answer since %s (a majority of the servers is needed): %v", time.Since(started).Round(time.Second), err)
			logged = time.Now()
		}
		if err := sleep(ctx, 250*time.Millisecond); err != nil {
			return err
		}
	}
}

// Promote gives a vote to a member that has caught up; there is at most one that waits for it.
func Promote(ctx context.Context, client *clientv3.Client) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	list, err := client.MemberList(ctx)
	if err != nil {
		return err
	}
	for _, m := range list.Members {
		if !m.IsLearner || m.Name == "" {
			continue
		}
		_, err := client.MemberPromote(ctx, m.ID)
		switch {
		case err == nil:
			log.Infof("etcd member %s has a vote now", m.Name)
		case errors.Is(err, rpctypes.ErrMemberLearnerNotReady), errors.Is(err, rpctypes.ErrMemberNotLearner), errors.Is(err, rpctypes.ErrMemberNotFound):
		default:
			return fmt.Errorf("promoting etcd member %s: %w", m.Name, err)
		}
	}
	return nil
}

// Remove takes a member out of the cluster by name; it reports whether there was one. The last one stays.
func Remove(ctx context.Context, client *clientv3.Client, name string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	list, err := client.MemberList(ctx)
	if err != nil {
		return false, err
	}
	for _, m := range list.Members {
		if m.Name != name {
			continue
		}
		if len(list.Members) == 1 {
			return false, fmt.Errorf("member %s is the last one and stays", name)
		}
		_, err := client.MemberRemove(ctx, m.ID)
		if errors.Is(err, rpctypes.ErrMemberNotFound) { // another server was quicker
			return false, nil
		}
		return err == nil, err
	}
	return false, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
