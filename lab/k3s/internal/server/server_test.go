package server

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"edge-ai/lab/k3s/internal/certs"
	"edge-ai/lab/k3s/internal/config"
	"edge-ai/lab/k3s/internal/passwd"
	"edge-ai/lab/k3s/internal/token"
)

// read gives a file's text, and the target of a link before it.
func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	target, err := os.Readlink(file)
	if err != nil {
		return strings.TrimSpace(string(text))
	}
	return "link to " + filepath.Base(target)
}

func TestTokenFiles(t *testing.T) {
	ca, err := certs.EnsureCA(t.TempDir(), "server-ca", "server-ca", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	full := func(user, password string) string {
		text, err := token.Format(ca.PEM, user, password)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	dir := t.TempDir()
	// The starts of one server, one after another.
	for _, c := range []struct {
		name, token, agentToken string
		server, node            string // passwords afterwards
		agentFile, own          string // server/agent-token, and what the server's own agent gets
	}{
		{"first start", "one", "", "one", "one", "link to token", full("node", "one")},
		{"nothing in the configuration", "", "", "one", "one", "link to token", full("node", "one")},
		{"an agent token", full("server", "one"), "agents", "one", "agents", full("node", "agents"), full("node", "agents")},
		{"in its full form", "one", full("node", "full"), "one", "full", full("node", "full"), full("node", "full")},
		{"another token", "two", "agents", "two", "agents", full("node", "agents"), full("node", "agents")},
		{"no agent token any more", "two", "", "two", "two", "link to token", full("node", "two")},
	} {
		s := &Server{Config: &config.Config{Token: c.token, AgentToken: c.agentToken}, dir: dir}
		if err := s.tokens(ca.PEM); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		table, err := passwd.Read(s.cred("passwd"))
		if err != nil || table.Password(passwd.Server) != c.server || table.Password(passwd.Node) != c.node {
			t.Errorf("%s: %+v, %v", c.name, table, err)
		}
		for file, want := range map[string]string{"token": full("server", c.server), "node-token": "link to token", "agent-token": c.agentFile} {
			if got := read(t, filepath.Join(dir, file)); got != want {
				t.Errorf("%s: %s is %q, want %q", c.name, file, got, want)
			}
		}
		if s.Token() != c.own {
			t.Errorf("%s: own agent has %q", c.name, s.Token())
		}
		if known, err := (&Server{Config: &config.Config{}, dir: dir}).knownPassword(); err != nil || known != c.server {
			t.Errorf("%s: the next start knows %q, %v", c.name, known, err)
		}
	}
}

func TestARandomTokenIsMade(t *testing.T) {
	ca, err := certs.EnsureCA(t.TempDir(), "server-ca", "server-ca", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Config: &config.Config{}, dir: t.TempDir()}
	if known, err := s.knownPassword(); err != nil || known != "" {
		t.Errorf("before the first start: %q, %v", known, err)
	}
	if err := s.tokens(ca.PEM); err != nil || len(s.password) != 32 {
		t.Errorf("%q, %v", s.password, err)
	}
}

func TestAgentsLearnOfNetworkPolicies(t *testing.T) {
	c := &config.Config{ClusterCIDR: []string{"10.42.0.0/16"}, ServiceCIDR: []string{"10.43.0.0/16"}, ClusterDNS: []string{"10.43.0.10"},
		ServiceNodePortRange: "30000-32767", DisableNetworkPolicy: true}
	if got := (&Server{Config: c}).cluster(); !got.DisableNetworkPolicy || got.NodePortRange != "30000-32767" {
		t.Errorf("got %+v", got)
	}
}

func TestHas(t *testing.T) {
	have := map[string]string{"a": "1", "b": "2"}
	for value, want := range map[string]bool{"1": true, "2": false} {
		if got := has(have, map[string]string{"a": value}); got != want {
			t.Errorf("%s: %v", value, got)
		}
	}
	if has(nil, map[string]string{"a": "1"}) || !has(nil, nil) {
		t.Error("of nothing")
	}
}

// TestImages compares the images of the packaged components with the versions that build.sh reads from the modules.
func TestImages(t *testing.T) {
	for image, module := range map[string]string{
		CoreDNSImage: "coredns github.com/coredns/coredns", TraefikImage: "traefik github.com/traefik/traefik/v3",
		MetricsServerImage: ". sigs.k8s.io/metrics-server",
	} {
		dir, path, _ := strings.Cut(module, " ")
		_, version, _ := strings.Cut(image, ":")
		text := read(t, filepath.Join("../..", dir, "go.mod"))
		if !strings.Contains(text, path+" v"+version) {
			t.Errorf("%s is not the version of %s in %s/go.mod", image, path, dir)
		}
	}
}
