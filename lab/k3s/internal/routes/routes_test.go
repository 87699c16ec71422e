package routes

import (
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"

	"edge-ai/lab/k3s/internal/certs"
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
		path, user, password string
		code                 int
	}{
		{"/ping", "", "", 200},
		{"/cacerts", "", "", 200},
		{"/api", "", "", 418}, // the API server's own
		{"/v1-k3s/config", "", "", 401},
		{"/v1-k3s/config", "node", "wrong", 401},
		{"/v1-k3s/config", "nobody", "agents", 401},
		{"/v1-k3s/config", "nobody", "", 401},
		{"/v1-k3s/config", "node", "agents", 200},
		{"/v1-k3s/config", "server", `s"e,cret`, 200},
		{"/v1-k3s/unknown", "node", "agents", 404},
		{"/v1-k3s/server-bootstrap", "", "", 401},
		{"/v1-k3s/server-bootstrap", "node", "agents", 401},
		{"/v1-k3s/server-bootstrap", "server", "agents", 401},
		{"/v1-k3s/server-bootstrap", "server", `s"e,cret`, 409}, // SQLite
	} {
		request, err := http.NewRequest("GET", s.URL+c.path, nil)
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

func TestProxyCertificate(t *testing.T) {
	s := serve(t)
	key, err := certs.EnsureKey(filepath.Join(t.TempDir(), "key"))
	if err != nil {
		t.Fatal(err)
	}
	csr, err := certs.Request(key, "system:masters")
	if err != nil {
		t.Fatal(err)
	}
	post := func(body string) (int, string) {
		request, err := http.NewRequest("POST", s.URL+"/v1-k3s/client-kube-proxy.crt", strings.NewReader(body))
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
	code, pem := post(string(csr))
	if code != 200 {
		t.Fatal(code)
	}
	cert, err := certs.ParseCert([]byte(pem))
	if err != nil {
		t.Fatal(err)
	}
	if cert.Subject.CommonName != "system:kube-proxy" || len(cert.Subject.Organization) != 0 || cert.ExtKeyUsage[0] != x509.ExtKeyUsageClientAuth {
		t.Errorf("got %v", cert.Subject)
	}
	if code, _ := post("nonsense"); code != 400 {
		t.Errorf("nonsense: %d", code)
	}
	if code, _ := post(strings.Repeat("x", maxRequest+1)); code != 400 {
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
