package server

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"k8s.io/client-go/tools/clientcmd/api"

	"edge-ai/lab/k3s/internal/certs"
	"edge-ai/lab/k3s/internal/encryption"
	"edge-ai/lab/k3s/internal/files"
	"edge-ai/lab/k3s/internal/kubeconfig"
	"edge-ai/lab/k3s/internal/passwd"
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
	if err := s.secretsEncryption(); err != nil {
		return fmt.Errorf("secrets-encryption: %w", err)
	}
	if err := s.kubeconfigs(); err != nil {
		return fmt.Errorf("kubeconfig: %w", err)
	}
	options, err := json.MarshalIndent(routes.Options{
		ServerDir:  s.dir,
		Config:     s.cluster(),
		APIServers: []string{net.JoinHostPort(s.advertise, strconv.Itoa(s.Config.HTTPSListenPort))},
		Etcd:       s.etcd,
		Datastore:  s.datastore(),
		AgentToken: s.Config.AgentToken != "",
		NodeName:   s.nodeName,
	}, "", "  ")
	if err != nil {
		return err
	}
	return files.Write(s.optionsFile(), options, 0o600)
}

// cluster is what agents get, and what must be equal on every server.
func (s *Server) cluster() routes.Cluster {
	return routes.Cluster{
		ClusterCIDR:          s.Config.ClusterCIDR[0],
		ServiceCIDR:          s.Config.ServiceCIDR[0],
		NodePortRange:        s.Config.ServiceNodePortRange,
		ClusterDNS:           s.Config.ClusterDNS[0],
		ClusterDomain:        s.Config.ClusterDomain,
		FlannelBackend:       s.Config.FlannelBackend,
		DisableKubeProxy:     s.Config.DisableKubeProxy,
		DisableNetworkPolicy: s.Config.DisableNetworkPolicy,
		EncryptSecrets:       s.Config.SecretsEncryption,
		EncryptProvider:      s.Config.SecretsEncryptionProvider,
		Version:              version.Version,
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

// tokens settles the cluster's passwords and writes the files from which tokens are handed out. As in k3s the
// configuration wins over what is in use, whatever the datastore holds; save and the next start then find out.
func (s *Server) tokens(caPEM []byte) error {
	table, err := passwd.Read(s.cred("passwd"))
	if err != nil {
		return err
	}
	password := table.Password(passwd.Server)
	if s.Config.Token != "" {
		if password, err = token.ServerPassword(s.Config.Token, caPEM); err != nil {
			return err
		}
	}
	if password == "" {
		password = token.Random(16)
	}
	s.password = password
	nodePassword := password
	if s.Config.AgentToken != "" {
		if nodePassword, err = token.AgentPassword(s.Config.AgentToken, caPEM); err != nil {
			return fmt.Errorf("agent-token: %w", err)
		}
	}
	table.Ensure(passwd.Node, passwd.AgentGroup, nodePassword)
	table.Ensure(passwd.Server, passwd.ServerGroup, password)
	if err := table.Write(s.cred("passwd")); err != nil {
		return err
	}
	if s.agentToken, err = token.Format(caPEM, passwd.Node, nodePassword); err != nil {
		return err
	}
	file, agentFile := filepath.Join(s.dir, "token"), filepath.Join(s.dir, "agent-token")
	if err := routes.WriteToken(file, caPEM, password); err != nil {
		return err
	}
	if err := files.Link(file, filepath.Join(s.dir, "node-token")); err != nil {
		return err
	}
	if s.Config.AgentToken == "" {
		return files.Link(file, agentFile)
	}
	return files.Write(agentFile, []byte(s.agentToken+"\n"), 0o600)
}

// knownPassword is that of the configured token, or of the one in use; empty on a machine that has neither.
func (s *Server) knownPassword() (string, error) {
	if s.Config.Token != "" {
		return token.Normalize(s.Config.Token)
	}
	text, err := os.ReadFile(filepath.Join(s.dir, "token"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return token.Normalize(string(text))
}

// secretsEncryption makes the key that encrypts Secrets, once, as the first server of a cluster does.
func (s *Server) secretsEncryption() error {
	if !s.Config.SecretsEncryption {
		return nil
	}
	return encryption.Ensure(s.dir, s.Config.SecretsEncryptionProvider)
}

// kubeconfigs writes those of the components, which name files, and the admin's, which carries everything in itself.
func (s *Server) kubeconfigs() error {
	for _, c := range []struct{ file, client string }{
		{"admin", "client-admin"}, {"supervisor", "client-supervisor"}, {"controller", "client-controller"}, {"scheduler", "client-scheduler"},
	} {
		if err := kubeconfig.Write(s.cred(c.file+".kubeconfig"), s.kubeconfig(c.client), 0o600); err != nil {
			return err
		}
	}
	admin := s.kubeconfig("client-admin")
	if err := api.FlattenConfig(admin); err != nil {
		return err
	}
	mode, err := strconv.ParseUint(s.Config.WriteKubeconfigMode, 8, 32)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(s.Config.WriteKubeconfig), 0o755); err != nil {
		return err
	}
	if err := kubeconfig.Write(s.Config.WriteKubeconfig, admin, fs.FileMode(mode)); err != nil {
		return err
	}
	if s.Config.WriteKubeconfig == DefaultKubeconfig {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(DefaultKubeconfig), 0o755); err != nil {
		return err
	}
	return files.Link(s.Config.WriteKubeconfig, DefaultKubeconfig)
}

// DefaultKubeconfig is where `k3s kubectl` looks.
const DefaultKubeconfig = "/etc/rancher/k3s/k3s.yaml"

func (s *Server) localURL() string {
	return fmt.Sprintf("https://127.0.0.1:%d", s.Config.HTTPSListenPort)
}

func (s *Server) kubeconfig(client string) *api.Config {
	return kubeconfig.For(s.localURL(), s.tls("server-ca.crt"), s.tls(client))
}
