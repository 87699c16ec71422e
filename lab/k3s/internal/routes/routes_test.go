package routes

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/k3s-io/kine/pkg/client"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/client-go/util/cert"

	"edge-ai/lab/k3s/internal/bootstrap"
	"edge-ai/lab/k3s/internal/certs"
	"edge-ai/lab/k3s/internal/passwd"
)

// serve starts the routes that need no API behind them.
func serve(t *testing.T) *httptest.Server {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"client-ca", "server-ca"} {
		if _, err := certs.EnsureCA(filepath.Join(dir, "tls"), name, name, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "cred"), 0o700); err != nil {
		t.Fatal(err)
	}
	passwd := "s\"ecret,server,server,k3s:server\n"
	passwd = strings.Replace(passwd, `s"ecret`, `"s""e,cret"`, 1) // a password with a comma and a quote
	if err := os.WriteFile(filepath.Join(dir, "cred", "passwd"), []byte(passwd+"agents,node,node,k3s:agent\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	next := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	h, err := New(Options{ServerDir: dir, Config: Cluster{ClusterDNS: "10.43.0.10"}}, nil, next)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

func TestWhoMaySeeWhat(t *testing.T) {
	s := serve(t)
	for _, c := range []struct {
		method, path, user, password string
		code                         int
	}{
		{"GET", "/ping", "", "", 200},
		{"GET", "/cacerts", "", "", 200},
		{"GET", "/api", "", "", 418}, // the API server's own
		{"GET", "/v1-k3s/config", "", "", 403},
		{"GET", "/v1-k3s/config", "node", "wrong", 401},
		{"GET", "/v1-k3s/config", "nobody", "agents", 401},
		{"GET", "/v1-k3s/config", "nobody", "", 401},
		{"GET", "/v1-k3s/config", "node", "agents", 200},
		{"GET", "/v1-k3s/config", "node", `s"e,cret`, 401},
		{"GET", "/v1-k3s/config", "server", `s"e,cret`, 403},
		{"GET", "/v1-k3s/unknown", "node", "agents", 404},
		{"GET", "/v1-k3s/server-bootstrap", "", "", 403},
		{"GET", "/v1-k3s/server-bootstrap", "node", "agents", 403},
		{"GET", "/v1-k3s/server-bootstrap", "server", "agents", 401},
		{"GET", "/v1-k3s/server-bootstrap", "server", `s"e,cret`, 409}, // SQLite
		{"PUT", "/v1-k3s/token", "node", "agents", 403},
		{"PUT", "/v1-k3s/token", "server", `s"e,cret`, 400}, // no body
		{"GET", "/v1-k3s/encrypt/status", "node", "agents", 403},
	} {
		request, err := http.NewRequest(c.method, s.URL+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.user != "" {
			request.SetBasicAuth(c.user, c.password)
		}
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != c.code {
			t.Errorf("%s as %q: %d, want %d", c.path, c.user, answer.StatusCode, c.code)
		}
	}
}

func TestNewTokenIsChecked(t *testing.T) {
	s := serve(t)
	for _, body := range []string{"{", `{"newToken": "abcdef.0123456789abcdef"}`, `{"newToken": "K10x::server:y"}`,
		`{"newToken": "K10` + strings.Repeat("ab", 32) + `::server:y"}`} {
		request, err := http.NewRequest("PUT", s.URL+"/v1-k3s/token", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.SetBasicAuth("server", `s"e,cret`)
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != 400 {
			t.Errorf("%s: %d", body, answer.StatusCode)
		}
	}
}

// nothing is a datastore without bootstrap data.
type nothing struct{ created []string }

func (n *nothing) List(context.Context, string, int) ([]client.Value, error) { return nil, nil }
func (n *nothing) Update(context.Context, string, int64, []byte) error {
	return errors.New("not wanted")
}
func (n *nothing) Delete(context.Context, string, int64) error { return errors.New("not wanted") }
func (n *nothing) Close() error                                { return nil }
func (n *nothing) Create(_ context.Context, key string, _ []byte) error {
	n.created = append(n.created, key)
	return nil
}

func TestRotate(t *testing.T) {
	for _, c := range []struct {
		name, node string
		agentToken bool
		wantNode   string
	}{
		{"one password", "old", false, "new"},
		{"an agent token in the configuration", "agents", true, "agents"},
		{"an agent token equal to the server's", "old", true, "old"},
		{"an agent token of earlier", "agents", false, "agents"},
	} {
		dir := t.TempDir()
		var caPEM []byte
		for _, name := range []string{"server-ca", "client-ca", "request-header-ca"} {
			ca, err := certs.EnsureCA(filepath.Join(dir, "tls"), name, name, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			if name == "server-ca" {
				caPEM = ca.PEM
			}
		}
		if _, err := certs.EnsureKey(filepath.Join(dir, "tls", "service.key")); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, "cred", "passwd")
		table := &passwd.Table{}
		table.Ensure(passwd.Server, passwd.ServerGroup, "old")
		table.Ensure(passwd.Node, passwd.AgentGroup, c.node)
		if err := table.Write(file); err != nil {
			t.Fatal(err)
		}
		store := &nothing{}
		if err := rotate(context.Background(), store, dir, caPEM, "new", c.agentToken); err != nil {
			t.Fatal(err)
		}
		table, err := passwd.Read(file)
		if err != nil || table.Password(passwd.Server) != "new" || table.Password(passwd.Node) != c.wantNode {
			t.Errorf("%s: %+v, %v", c.name, table, err)
		}
		text, err := os.ReadFile(filepath.Join(dir, "token"))
		if err != nil || !strings.HasPrefix(string(text), "K10") || !strings.HasSuffix(string(text), "::server:new\n") {
			t.Errorf("%s: %q, %v", c.name, text, err)
		}
		if len(store.created) != 1 || store.created[0] != bootstrap.Key("new") {
			t.Errorf("%s: %v", c.name, store.created)
		}
	}
}

func TestWhatServersMustHaveInCommon(t *testing.T) {
	one := Cluster{ClusterCIDR: "10.42.0.0/16", EncryptSecrets: true}
	two := one
	if different := one.Differ(two); different != nil {
		t.Errorf("%v", different)
	}
	two.EncryptSecrets, two.ClusterDNS, two.DisableNetworkPolicy, two.Version = false, "10.43.0.10", true, "another"
	if got := strings.Join(one.Differ(two), "; "); got != "cluster-dns ( here, 10.43.0.10 in the cluster); "+
		"disable-network-policy (false here, true in the cluster); secrets-encryption (true here, false in the cluster)" {
		t.Errorf("got %q", got)
	}
}

func TestCertificatesOfSharedUsers(t *testing.T) {
	s := serve(t)
	key, err := certs.EnsureKey(filepath.Join(t.TempDir(), "key"))
	if err != nil {
		t.Fatal(err)
	}
	csr, err := cert.MakeCSR(key, &pkix.Name{CommonName: "system:masters"}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	post := func(user, body string) (int, string) {
		request, err := http.NewRequest("POST", s.URL+"/v1-k3s/client-"+user+".crt", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.SetBasicAuth("node", "agents")
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		var text strings.Builder
		_ = answer.Write(&text)
		_, pem, _ := strings.Cut(text.String(), "-----BEGIN")
		return answer.StatusCode, "-----BEGIN" + pem
	}
	for _, user := range []string{"kube-proxy", "k3s-controller"} {
		code, pem := post(user, string(csr))
		if code != 200 {
			t.Fatal(code)
		}
		list, err := cert.ParseCertsPEM([]byte(pem))
		if err != nil {
			t.Fatal(err)
		}
		if c := list[0]; c.Subject.CommonName != "system:"+user || len(c.Subject.Organization) != 0 || c.ExtKeyUsage[0] != x509.ExtKeyUsageClientAuth {
			t.Errorf("got %v", c.Subject)
		}
	}
	if code, _ := post("kube-proxy", "nonsense"); code != 400 {
		t.Errorf("nonsense: %d", code)
	}
	if code, _ := post("kube-proxy", strings.Repeat("x", maxRequest+1)); code != 400 {
		t.Errorf("a huge request: %d", code)
	}
}

func TestNodeHeadersAreNeeded(t *testing.T) {
	s := serve(t)
	request, err := http.NewRequest("POST", s.URL+"/v1-k3s/client-kubelet.crt", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.SetBasicAuth("node", "agents")
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != 400 {
		t.Errorf("%d", answer.StatusCode)
	}
}

func TestAddressesOfServers(t *testing.T) {
	port := int32(6443)
	slice := &discoveryv1.EndpointSlice{
		Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.0.0.1"}}, {Addresses: []string{"10.0.0.2"}}},
		Ports:     []discoveryv1.EndpointPort{{Port: &port}, {}},
	}
	if got := strings.Join(addresses(slice), " "); got != "10.0.0.1:6443 10.0.0.2:6443" {
		t.Errorf("got %q", got)
	}
}
