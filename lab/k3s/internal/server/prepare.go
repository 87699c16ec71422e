package server

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"edge-ai/lab/k3s/internal/bootstrap"
	"edge-ai/lab/k3s/internal/certs"
	"edge-ai/lab/k3s/internal/routes"
	"edge-ai/lab/k3s/internal/token"
	"edge-ai/lab/k3s/internal/version"
)

func (s *Server) tls(name string) string  { return filepath.Join(s.dir, "tls", name) }
func (s *Server) cred(name string) string { return filepath.Join(s.dir, "cred", name) }

// prepare makes or renews everything on disk that the components read.
func (s *Server) prepare(now time.Time) error {
	for _, dir := range []string{"tls", "cred", "db", "etc", "manifests"} {
		if err := os.MkdirAll(filepath.Join(s.dir, dir), 0o700); err != nil {
			return err
		}
	}
	if err := os.Chmod(s.dir, 0o700); err != nil {
		return err
	}
	serverCA, err := s.certificates(now)
	if err != nil {
		return fmt.Errorf("certificates: %w", err)
	}
	if err := s.tokens(serverCA.PEM); err != nil {
		return fmt.Errorf("token: %w", err)
	}
	if err := s.kubeconfigs(serverCA.PEM); err != nil {
		return fmt.Errorf("kubeconfig: %w", err)
	}
	options, err := json.MarshalIndent(routes.Options{
		ServerDir:  s.dir,
		Config:     s.cluster(),
		APIServers: []string{net.JoinHostPort(s.advertise, strconv.Itoa(s.Config.HTTPSListenPort))},
		Etcd:       s.etcd,
	}, "", "  ")
	if err != nil {
		return err
	}
	return certs.WriteFile(s.optionsFile(), options, 0o600)
}

// cluster is what agents are told, and what must be equal on every server.
func (s *Server) cluster() routes.Cluster {
	return routes.Cluster{
		ClusterCIDR:      s.Config.ClusterCIDR[0],
		ServiceCIDR:      s.Config.ServiceCIDR[0],
		ClusterDNS:       s.Config.ClusterDNS[0],
		ClusterDomain:    s.Config.ClusterDomain,
		FlannelBackend:   s.Config.FlannelBackend,
		DisableKubeProxy: s.Config.DisableKubeProxy,
		Version:          version.Version,
	}
}

func (s *Server) optionsFile() string { return filepath.Join(s.dir, "etc", "supervisor.json") }

func (s *Server) certificates(now time.Time) (*certs.CA, error) {
	dir := filepath.Join(s.dir, "tls")
	clientCA, err := certs.EnsureCA(dir, "client-ca", "k3s-client-ca", now)
	if err != nil {
		return nil, err
	}
	serverCA, err := certs.EnsureCA(dir, "server-ca", "k3s-server-ca", now)
	if err != nil {
		return nil, err
	}
	requestCA, err := certs.EnsureCA(dir, "request-header-ca", "k3s-request-header-ca", now)
	if err != nil {
		return nil, err
	}
	if _, err := certs.EnsureKey(s.tls("service.key")); err != nil {
		return nil, err
	}
	if s.etcd != nil {
		if err := s.etcd.Certificates(now); err != nil {
			return nil, err
		}
	}
	names, ips, err := s.names()
	if err != nil {
		return nil, err
	}
	client := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	masters := []string{"system:masters"}
	for _, l := range []struct {
		name string
		ca   *certs.CA
		leaf certs.Leaf
	}{
		{"client-admin", clientCA, certs.Leaf{CommonName: "system:admin", Organization: masters, Usage: client}},
		{"client-supervisor", clientCA, certs.Leaf{CommonName: "system:k3s-supervisor", Organization: masters, Usage: client}},
		{"client-controller", clientCA, certs.Leaf{CommonName: "system:kube-controller-manager", Usage: client}},
		{"client-scheduler", clientCA, certs.Leaf{CommonName: "system:kube-scheduler", Usage: client}},
		{"client-kube-apiserver", clientCA, certs.Leaf{CommonName: "system:apiserver", Organization: masters, Usage: client}},
		{"client-auth-proxy", requestCA, certs.Leaf{CommonName: "system:auth-proxy", Usage: client}},
		{"serving-kube-apiserver", serverCA, certs.Leaf{CommonName: "kube-apiserver", DNSNames: names, IPs: ips,
			Usage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}},
	} {
		if _, err := certs.EnsureLeaf(dir, l.name, l.ca, l.leaf, now); err != nil {
			return nil, fmt.Errorf("%s: %w", l.name, err)
		}
	}
	return serverCA, nil
}

// names are what the API server's certificate is good for.
func (s *Server) names() (names []string, ips []net.IP, err error) {
	service, err := netip.ParsePrefix(s.Config.ServiceCIDR[0])
	if err != nil {
		return nil, nil, err
	}
	names = []string{"kubernetes", "kubernetes.default", "kubernetes.default.svc",
		"kubernetes.default.svc." + s.Config.ClusterDomain, "localhost", s.nodeName}
	if host, err := os.Hostname(); err == nil && host != s.nodeName {
		names = append(names, host)
	}
	all := append([]string{"127.0.0.1", "::1", s.nodeIP, s.advertise, service.Masked().Addr().Next().String()}, s.Config.TLSSAN...)
	for _, a := range all {
		if ip := net.ParseIP(a); ip != nil {
			ips = append(ips, ip)
		} else {
			names = append(names, a)
		}
	}
	return names, ips, nil
}

// tokens settles the cluster's token: the configured one, or the one in use, or a random one.
func (s *Server) tokens(caPEM []byte) error {
	inUse, err := routes.ReadPasswords(s.cred("passwd"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	password := inUse["server"]
	if s.Config.Token != "" {
		configured, err := token.ServerPassword(s.Config.Token, caPEM)
		if err != nil {
			return err
		}
		if password != "" && password != configured {
			return bootstrap.ErrOtherToken
		}
		password = configured
	}
	if password == "" {
		password = token.Random(16)
	}
	s.password = password
	nodePassword := password
	if s.Config.AgentToken != "" {
		t, err := token.Parse(s.Config.AgentToken)
		if err != nil {
			return fmt.Errorf("agent-token: %w", err)
		}
		if err := t.CheckCA(caPEM); err != nil {
			return fmt.Errorf("agent-token: %w", err)
		}
		if nodePassword = t.Password; t.ID != "" {
			nodePassword = t.ID + "." + t.Secret
		}
	}
	var table bytes.Buffer
	w := csv.NewWriter(&table)
	_ = w.Write([]string{password, "server", "server", "k3s:server"}) // a Buffer never fails
	_ = w.Write([]string{nodePassword, "node", "node", "k3s:agent"})
	w.Flush()
	if err := certs.WriteFile(s.cred("passwd"), table.Bytes(), 0o600); err != nil {
		return err
	}

	full, err := token.Format(caPEM, "server", password)
	if err != nil {
		return err
	}
	s.agentToken = full
	if err := certs.WriteFile(filepath.Join(s.dir, "token"), []byte(full+"\n"), 0o600); err != nil {
		return err
	}
	if err := relink("token", filepath.Join(s.dir, "node-token")); err != nil {
		return err
	}
	agentFile := filepath.Join(s.dir, "agent-token")
	if s.Config.AgentToken == "" {
		return relink("token", agentFile)
	}
	if full, err = token.Format(caPEM, "node", nodePassword); err != nil {
		return err
	}
	return certs.WriteFile(agentFile, []byte(full+"\n"), 0o600)
}

func relink(target, name string) error {
	if old, err := os.Readlink(name); err == nil && old == target {
		return nil
	}
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Symlink(target, name)
}

// kubeconfigs writes those of the components, which name files, and the admin's, which carries everything in itself.
func (s *Server) kubeconfigs(caPEM []byte) error {
	for _, c := range []struct{ file, client string }{
		{"admin", "client-admin"}, {"supervisor", "client-supervisor"}, {"controller", "client-controller"}, {"scheduler", "client-scheduler"},
	} {
		text := kubeconfig(s.localURL(), "certificate-authority: "+s.tls("server-ca.crt"),
			"client-certificate: "+s.tls(c.client+".crt"), "client-key: "+s.tls(c.client+".key"))
		if err := certs.WriteFile(s.cred(c.file+".kubeconfig"), []byte(text), 0o600); err != nil {
			return err
		}
	}
	crt, err := os.ReadFile(s.tls("client-admin.crt"))
	if err != nil {
		return err
	}
	key, err := os.ReadFile(s.tls("client-admin.key"))
	if err != nil {
		return err
	}
	encode := base64.StdEncoding.EncodeToString
	text := kubeconfig(s.localURL(), "certificate-authority-data: "+encode(caPEM),
		"client-certificate-data: "+encode(crt), "client-key-data: "+encode(key))
	mode, err := strconv.ParseUint(s.Config.WriteKubeconfigMode, 8, 32)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(s.Config.WriteKubeconfig), 0o755); err != nil {
		return err
	}
	if err := certs.WriteFile(s.Config.WriteKubeconfig, []byte(text), fs.FileMode(mode)); err != nil {
		return err
	}
	if s.Config.WriteKubeconfig == DefaultKubeconfig {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(DefaultKubeconfig), 0o755); err != nil {
		return err
	}
	return relink(s.Config.WriteKubeconfig, DefaultKubeconfig)
}

// DefaultKubeconfig is where `k3s kubectl` looks.
const DefaultKubeconfig = "/etc/rancher/k3s/k3s.yaml"

func (s *Server) localURL() string {
	return fmt.Sprintf("https://127.0.0.1:%d", s.Config.HTTPSListenPort)
}

func kubeconfig(server, ca, crt, key string) string {
	return strings.Join([]string{
		"apiVersion: v1",
		"clusters:",
		"- cluster:",
		"    " + ca,
		"    server: " + server,
		"  name: default",
		"contexts:",
		"- context:",
		"    cluster: default",
		"    user: default",
		"  name: default",
		"current-context: default",
		"kind: Config",
		"users:",
		"- name: default",
		"  user:",
		"    " + crt,
		"    " + key,
		"",
	}, "\n")
}
