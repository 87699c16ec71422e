// Package routes serves what k3s's supervisor offers to agents, on the API server's listener.
package routes

import (
	"context"
	"crypto/subtle"
	"crypto/x509"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"edge-ai/lab/k3s/internal/bootstrap"
	"edge-ai/lab/k3s/internal/certs"
	"edge-ai/lab/k3s/internal/etcd"
	"edge-ai/lab/k3s/internal/nodepassword"
	"edge-ai/lab/k3s/internal/token"
)

// Names that agent and server agree on.
const (
	Prefix         = "/v1-k3s/"
	HeaderName     = "k3s-Node-Name"
	HeaderPassword = "k3s-Node-Password"
	HeaderIP       = "k3s-Node-IP"

	// SecretType marks the Secrets with hashes of node passwords.
	SecretType   = "k3s.cattle.io/node-password"
	SecretSuffix = ".node-password.k3s"

	maxRequest = 64 << 10
	// apiPatience is how long a request waits for the API behind it.
	apiPatience = 8 * time.Second
)

// Options is what kube-apiserver's process is told by the main process, as a JSON file.
type Options struct {
	ServerDir  string // <data>/server
	Config     Cluster
	APIServers []string // this one; the cluster's are asked for
	// Etcd is this server's member; nil with SQLite.
	Etcd *etcd.Node
}

// Join is the answer of /v1-k3s/server-bootstrap: what another server needs to be one of this cluster.
type Join struct {
	Files     bootstrap.Data
	Endpoints []string // client addresses of etcd's members
}

// Cluster is the answer of /v1-k3s/config: what an agent must know about the cluster.
type Cluster struct {
	ClusterCIDR      string
	ServiceCIDR      string
	ClusterDNS       string
	ClusterDomain    string
	FlannelBackend   string
	DisableKubeProxy bool
	Version          string
}

type handler struct {
	options   Options
	clientCA  *certs.CA
	serverCA  *certs.CA
	passwords map[string]string
	client    kubernetes.Interface
	next      http.Handler
	mux       *http.ServeMux
}

// Load reads the options file and gives the wrapper for components.APIServer.
func Load(file string) (func(*rest.Config, http.Handler) (http.Handler, error), error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var o Options
	if err := json.Unmarshal(data, &o); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return func(loopback *rest.Config, next http.Handler) (http.Handler, error) {
		client, err := kubernetes.NewForConfig(loopback)
		if err != nil {
			return nil, err
		}
		return New(o, client, next)
	}, nil
}

// New builds the handler; requests for other paths go to next.
func New(o Options, client kubernetes.Interface, next http.Handler) (http.Handler, error) {
	h := &handler{options: o, client: client, next: next, mux: http.NewServeMux()}
	tls := filepath.Join(o.ServerDir, "tls")
	var err error
	if h.clientCA, err = certs.EnsureCA(tls, "client-ca", "k3s-client-ca", time.Now()); err != nil {
		return nil, err
	}
	if h.serverCA, err = certs.EnsureCA(tls, "server-ca", "k3s-server-ca", time.Now()); err != nil {
		return nil, err
	}
	if h.passwords, err = ReadPasswords(filepath.Join(o.ServerDir, "cred", "passwd")); err != nil {
		return nil, err
	}
	h.mux.HandleFunc("GET /ping", func(w http.ResponseWriter, _ *http.Request) { reply(w, "text/plain", []byte("pong")) })
	h.mux.HandleFunc("GET /cacerts", func(w http.ResponseWriter, _ *http.Request) { reply(w, "text/plain", h.serverCA.PEM) })
	h.agent("GET", "config", h.config)
	h.agent("GET", "client-ca.crt", func(w http.ResponseWriter, _ *http.Request) { reply(w, "text/plain", h.clientCA.PEM) })
	h.agent("GET", "server-ca.crt", func(w http.ResponseWriter, _ *http.Request) { reply(w, "text/plain", h.serverCA.PEM) })
	h.agent("GET", "apiservers", func(w http.ResponseWriter, r *http.Request) { replyJSON(w, h.apiServers(r.Context())) })
	h.agent("GET", "readyz", h.readyz)
	h.agent("POST", "serving-kubelet.crt", h.servingKubelet)
	h.agent("POST", "client-kubelet.crt", h.clientKubelet)
	h.agent("POST", "client-kube-proxy.crt", h.clientProxy)
	h.mux.HandleFunc("GET "+Prefix+"server-bootstrap", h.serverBootstrap)
	return h, nil
}

// apiServers are the addresses of all API servers that renewed their lease lately; in doubt this one.
func (h *handler) apiServers(ctx context.Context) []string {
	ctx, cancel := context.WithTimeout(ctx, apiPatience)
	defer cancel()
	slice, err := h.client.DiscoveryV1().EndpointSlices(metav1.NamespaceDefault).Get(ctx, "kubernetes", metav1.GetOptions{})
	if err != nil {
		return h.options.APIServers
	}
	if servers := addresses(slice); len(servers) > 0 {
		return servers
	}
	return h.options.APIServers
}

func addresses(slice *discoveryv1.EndpointSlice) (servers []string) {
	for _, port := range slice.Ports {
		if port.Port == nil {
			continue
		}
		for _, endpoint := range slice.Endpoints {
			for _, address := range endpoint.Addresses {
				servers = append(servers, net.JoinHostPort(address, strconv.Itoa(int(*port.Port))))
			}
		}
	}
	return servers
}

// serverBootstrap hands the keys of the cluster to a server that knows the server token; an agent's does not do.
func (h *handler) serverBootstrap(w http.ResponseWriter, r *http.Request) {
	user, password, _ := r.BasicAuth()
	if user != "server" || password == "" || subtle.ConstantTimeCompare([]byte(h.passwords["server"]), []byte(password)) != 1 {
		http.Error(w, "not authorized", http.StatusUnauthorized)
		return
	}
	if h.options.Etcd == nil {
		http.Error(w, "this server keeps its data in SQLite, so no second server can join; start it anew with cluster-init", http.StatusConflict)
		return
	}
	files, err := bootstrap.Read(filepath.Join(h.options.ServerDir, "tls"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	endpoints, err := h.options.Etcd.Endpoints(r.Context())
	if err != nil {
		http.Error(w, fmt.Sprintf("etcd does not answer: %v", err), http.StatusServiceUnavailable)
		return
	}
	replyJSON(w, Join{files, endpoints})
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/ping" || r.URL.Path == "/cacerts" || strings.HasPrefix(r.URL.Path, Prefix) {
		h.mux.ServeHTTP(w, r)
		return
	}
	h.next.ServeHTTP(w, r)
}

// agent registers a route for holders of a node's or server's token, or of a node's certificate.
func (h *handler) agent(method, name string, f http.HandlerFunc) {
	h.mux.HandleFunc(method+" "+Prefix+name, func(w http.ResponseWriter, r *http.Request) {
		if err := h.authorize(r); err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		f(w, r)
	})
}

func (h *handler) authorize(r *http.Request) error {
	if user, password, ok := r.BasicAuth(); ok {
		want, known := h.passwords[user]
		if known && subtle.ConstantTimeCompare([]byte(want), []byte(password)) == 1 {
			return nil
		}
		return errors.New("not authorized")
	}
	if bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		return h.bootstrapToken(r.Context(), bearer)
	}
	return h.nodeIdentity(r)
}

// bootstrapToken accepts what `k3s token create` made.
func (h *handler) bootstrapToken(ctx context.Context, bearer string) error {
	ctx, cancel := context.WithTimeout(ctx, apiPatience)
	defer cancel()
	t, err := token.Parse(bearer)
	if err != nil || t.ID == "" {
		return errors.New("not authorized")
	}
	secret, err := h.client.CoreV1().Secrets(metav1.NamespaceSystem).Get(ctx, "bootstrap-token-"+t.ID, metav1.GetOptions{})
	if err != nil {
		return errors.New("not authorized")
	}
	if subtle.ConstantTimeCompare(secret.Data["token-secret"], []byte(t.Secret)) != 1 ||
		string(secret.Data["usage-bootstrap-authentication"]) != "true" ||
		!slices.Contains(strings.Split(string(secret.Data["auth-extra-groups"]), ","), token.BootstrapGroup) {
		return errors.New("not authorized")
	}
	if end := string(secret.Data["expiration"]); end != "" {
		at, err := time.Parse(time.RFC3339, end)
		if err != nil || time.Now().After(at) {
			return errors.New("not authorized: token has expired")
		}
	}
	return nil
}

// nodeIdentity accepts the client certificate of a node that exists, so that a node can start without a token again.
func (h *handler) nodeIdentity(r *http.Request) error {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return errors.New("not authorized")
	}
	roots := x509.NewCertPool()
	roots.AddCert(h.clientCA.Cert)
	cert := r.TLS.PeerCertificates[0]
	if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		return errors.New("not authorized")
	}
	name, ok := strings.CutPrefix(cert.Subject.CommonName, "system:node:")
	if !ok || (r.Header.Get(HeaderName) != "" && r.Header.Get(HeaderName) != name) {
		return errors.New("not authorized")
	}
	ctx, cancel := context.WithTimeout(r.Context(), apiPatience)
	defer cancel()
	if _, err := h.client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{}); err != nil {
		return fmt.Errorf("unable to verify node identity: %w", err)
	}
	return nil
}

func (h *handler) config(w http.ResponseWriter, _ *http.Request) { replyJSON(w, h.options.Config) }

func (h *handler) readyz(w http.ResponseWriter, r *http.Request) {
	body, err := h.client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(r.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	reply(w, "text/plain", body)
}

func (h *handler) servingKubelet(w http.ResponseWriter, r *http.Request) {
	h.signForNode(w, r, h.serverCA, func(name string, ips []net.IP) certs.Leaf {
		return certs.Leaf{
			CommonName: name,
			DNSNames:   []string{name, "localhost"},
			IPs:        append(ips, net.IPv4(127, 0, 0, 1), net.IPv6loopback),
			Usage:      []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		}
	})
}

func (h *handler) clientKubelet(w http.ResponseWriter, r *http.Request) {
	h.signForNode(w, r, h.clientCA, func(name string, _ []net.IP) certs.Leaf {
		return certs.Leaf{
			CommonName:   "system:node:" + name,
			Organization: []string{"system:nodes"},
			Usage:        []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		}
	})
}

func (h *handler) clientProxy(w http.ResponseWriter, r *http.Request) {
	h.sign(w, r, h.clientCA, certs.Leaf{CommonName: "system:kube-proxy", Usage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
}

// signForNode signs for the node that the headers name, after its password was checked.
func (h *handler) signForNode(w http.ResponseWriter, r *http.Request, ca *certs.CA, leaf func(string, []net.IP) certs.Leaf) {
	name, password := r.Header.Get(HeaderName), r.Header.Get(HeaderPassword)
	if name == "" || password == "" {
		http.Error(w, "node name or password not set", http.StatusBadRequest)
		return
	}
	var ips []net.IP
	for _, s := range strings.Split(r.Header.Get(HeaderIP), ",") {
		if ip := net.ParseIP(s); ip != nil {
			ips = append(ips, ip)
		}
	}
	switch rejected, err := h.checkPassword(r.Context(), name, password); {
	case rejected:
		http.Error(w, fmt.Sprintf("unable to verify password for node %s: %v", name, err), http.StatusForbidden)
	case err != nil:
		http.Error(w, fmt.Sprintf("unable to look up password of node %s: %v", name, err), http.StatusServiceUnavailable)
	default:
		h.sign(w, r, ca, leaf(name, ips))
	}
}

func (h *handler) sign(w http.ResponseWriter, r *http.Request, ca *certs.CA, leaf certs.Leaf) {
	request, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	pem, err := ca.SignRequest(request, leaf, time.Now())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	reply(w, "text/plain", pem)
}

// checkPassword compares with the Secret of the node, which the first caller creates.
func (h *handler) checkPassword(ctx context.Context, node, password string) (rejected bool, err error) {
	// An API that is only starting would let the caller hang; it is better told to come again.
	ctx, cancel := context.WithTimeout(ctx, apiPatience)
	defer cancel()
	secrets := h.client.CoreV1().Secrets(metav1.NamespaceSystem)
	name := strings.ToLower(node) + SecretSuffix
	secret, err := secrets.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		hash, err := nodepassword.Hash(password)
		if err != nil {
			return false, err
		}
		immutable := true
		created := &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Type:       SecretType,
			Immutable:  &immutable,
			Data:       map[string][]byte{"hash": []byte(hash)},
		}
		if _, err = secrets.Create(ctx, created, metav1.CreateOptions{}); !apierrors.IsAlreadyExists(err) {
			return false, err
		}
		// An earlier request of the same node, given up by its sender, came first.
		secret, err = secrets.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
	} else if err != nil {
		return false, err
	}
	err = nodepassword.Verify(string(secret.Data["hash"]), password)
	return err != nil, err
}

// ReadPasswords reads the passwd file: password,user,user,group a line.
func ReadPasswords(file string) (map[string]string, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	records, err := csv.NewReader(f).ReadAll()
	if err != nil {
		return nil, err
	}
	passwords := map[string]string{}
	for _, r := range records {
		if len(r) < 2 || r[0] == "" {
			return nil, fmt.Errorf("%s: a line without password or user", file)
		}
		passwords[r[1]] = r[0]
	}
	return passwords, nil
}

func reply(w http.ResponseWriter, contentType string, body []byte) {
	w.Header().Set("Content-Type", contentType)
	_, _ = w.Write(body) // the caller may be gone
}

func replyJSON(w http.ResponseWriter, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	reply(w, "application/json", body)
}
