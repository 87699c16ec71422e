// Package routes serves what k3s's supervisor offers to agents, on the API server's listener.
package routes

import (
	"context"
	"crypto/subtle"
	"crypto/x509"
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
	"sync"
	"time"

	"github.com/k3s-io/kine/pkg/endpoint"
	log "github.com/sirupsen/logrus"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	bootstrapapi "k8s.io/cluster-bootstrap/token/api"
	bootstraputil "k8s.io/cluster-bootstrap/token/util"
	bootstrapsecrets "k8s.io/cluster-bootstrap/util/secrets"

	"edge-ai/lab/k3s/internal/bootstrap"
	"edge-ai/lab/k3s/internal/certs"
	"edge-ai/lab/k3s/internal/encryption"
	"edge-ai/lab/k3s/internal/etcd"
	"edge-ai/lab/k3s/internal/files"
	"edge-ai/lab/k3s/internal/nodepassword"
	"edge-ai/lab/k3s/internal/passwd"
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

	// RoleLabel marks the Nodes of servers.
	RoleLabel = "node-role.kubernetes.io/control-plane"

	// Groups of callers that have no password.
	nodesGroup     = "system:nodes"
	bootstrapGroup = "system:bootstrappers"

	maxRequest = 64 << 10
	// apiPatience is how long a request waits for the API behind it.
	apiPatience = 8 * time.Second
	// rotatePatience bounds a rotation; once begun it had better end, for the files come first.
	rotatePatience = time.Minute
)

// Options is what kube-apiserver's process gets from the main process, as a JSON file.
type Options struct {
	ServerDir  string // <data>/server
	Config     Cluster
	APIServers []string // this one; the cluster's are asked for
	// Etcd is this server's member; nil with SQLite.
	Etcd *etcd.Node
	// Datastore is SQLite's server or Etcd.
	Datastore endpoint.ETCDConfig
	// AgentToken is whether agents have a password of their own.
	AgentToken bool
	NodeName   string
}

// Join is the answer of /v1-k3s/server-bootstrap: what another server needs to be one of this cluster.
type Join struct {
	Files     bootstrap.Data
	Endpoints []string // client addresses of etcd's members
}

// Cluster is the answer of /v1-k3s/config: what an agent must know about the cluster.
type Cluster struct {
	ClusterCIDR          string
	ServiceCIDR          string
	NodePortRange        string
	ClusterDNS           string
	ClusterDomain        string
	FlannelBackend       string
	DisableKubeProxy     bool
	DisableNetworkPolicy bool
	EncryptSecrets       bool
	EncryptProvider      string
	Version              string
}

// Differ gives the keys whose values are not the same, with both values.
func (c Cluster) Differ(other Cluster) (different []string) {
	for _, v := range []struct {
		key       string
		own, that any
	}{
		{"cluster-cidr", c.ClusterCIDR, other.ClusterCIDR},
		{"service-cidr", c.ServiceCIDR, other.ServiceCIDR},
		{"cluster-dns", c.ClusterDNS, other.ClusterDNS},
		{"cluster-domain", c.ClusterDomain, other.ClusterDomain},
		{"flannel-backend", c.FlannelBackend, other.FlannelBackend},
		{"disable-kube-proxy", c.DisableKubeProxy, other.DisableKubeProxy},
		{"disable-network-policy", c.DisableNetworkPolicy, other.DisableNetworkPolicy},
		{"secrets-encryption", c.EncryptSecrets, other.EncryptSecrets},
		{"secrets-encryption-provider", c.EncryptProvider, other.EncryptProvider},
	} {
		if v.own != v.that {
			different = append(different, fmt.Sprintf("%s (%v here, %v in the cluster)", v.key, v.own, v.that))
		}
	}
	return different
}

type handler struct {
	options  Options
	clientCA *certs.CA
	serverCA *certs.CA
	// passwords are those of the start, as in k3s: a rotated token counts from the next start on.
	passwords *passwd.Table
	rotating  sync.Mutex
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
	if h.passwords, err = passwd.Read(h.passwdFile()); err != nil {
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
	h.agent("POST", "client-kube-proxy.crt", h.clientOf("system:kube-proxy"))
	h.agent("POST", "client-k3s-controller.crt", h.clientOf("system:k3s-controller"))
	h.handle("GET", "server-bootstrap", h.serverBootstrap, passwd.ServerGroup)
	h.handle("PUT", "token", h.rotateToken, passwd.ServerGroup)
	h.handle("GET", "encrypt/status", h.encryptionStatus, passwd.ServerGroup)
	return h, nil
}

func (h *handler) passwdFile() string {
	return filepath.Join(h.options.ServerDir, bootstrap.PasswdFile)
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

// serverBootstrap hands this server's files to another server.
func (h *handler) serverBootstrap(w http.ResponseWriter, r *http.Request) {
	if h.options.Etcd == nil {
		http.Error(w, "this server keeps its data in SQLite, so no second server can join; create it again with cluster-init", http.StatusConflict)
		return
	}
	files, err := bootstrap.Read(h.options.ServerDir)
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

// agent registers a route for holders of the agents' token, of a bootstrap token, or of a node's certificate. As in
// k3s a server's token is not enough.
func (h *handler) agent(method, name string, f http.HandlerFunc) {
	h.handle(method, name, f, passwd.AgentGroup, nodesGroup, bootstrapGroup)
}

// handle registers a route for requests of one of the groups.
func (h *handler) handle(method, name string, f http.HandlerFunc, groups ...string) {
	h.mux.HandleFunc(method+" "+Prefix+name, func(w http.ResponseWriter, r *http.Request) {
		switch group, err := h.authenticate(r); {
		case err != nil:
			http.Error(w, err.Error(), http.StatusUnauthorized)
		case !slices.Contains(groups, group):
			http.Error(w, "forbidden", http.StatusForbidden)
		default:
			f(w, r)
		}
	})
}

// errUnauthorized is all that a caller hears of a wrong password or certificate.
var errUnauthorized = errors.New("not authorized")

// authenticate gives the group of the caller, empty for one who shows nothing.
func (h *handler) authenticate(r *http.Request) (string, error) {
	if user, password, ok := r.BasicAuth(); ok {
		group, ok := h.passwords.Group(user, password)
		if !ok {
			return "", errUnauthorized
		}
		return group, nil
	}
	if bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		return bootstrapGroup, h.bootstrapToken(r.Context(), bearer)
	}
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return "", nil
	}
	return h.nodeIdentity(r)
}

// bootstrapToken accepts what `k3s token create` made, while it has not expired.
func (h *handler) bootstrapToken(ctx context.Context, bearer string) error {
	ctx, cancel := context.WithTimeout(ctx, apiPatience)
	defer cancel()
	t, err := token.Parse(bearer)
	if err != nil || t.ID == "" {
		return errUnauthorized
	}
	secret, err := h.client.CoreV1().Secrets(metav1.NamespaceSystem).Get(ctx, bootstraputil.BootstrapTokenSecretName(t.ID), metav1.GetOptions{})
	if err != nil {
		return errUnauthorized
	}
	if subtle.ConstantTimeCompare(secret.Data[bootstrapapi.BootstrapTokenSecretKey], []byte(t.Secret)) != 1 ||
		string(secret.Data[bootstrapapi.BootstrapTokenUsageAuthentication]) != "true" {
		return errUnauthorized
	}
	if bootstrapsecrets.HasExpired(secret, time.Now()) {
		return fmt.Errorf("%w: token has expired", errUnauthorized)
	}
	return nil
}

// nodeIdentity accepts the client certificate of a node that exists, so that a node can start without a token again.
func (h *handler) nodeIdentity(r *http.Request) (string, error) {
	roots := x509.NewCertPool()
	roots.AddCert(h.clientCA.Cert)
	cert := r.TLS.PeerCertificates[0]
	if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		return "", errUnauthorized
	}
	name, ok := strings.CutPrefix(cert.Subject.CommonName, "system:node:")
	if !ok || !slices.Contains(cert.Subject.Organization, nodesGroup) {
		return "", nil
	}
	if wanted := r.Header.Get(HeaderName); wanted != "" && wanted != name {
		return "", errUnauthorized
	}
	ctx, cancel := context.WithTimeout(r.Context(), apiPatience)
	defer cancel()
	if _, err := h.client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{}); err != nil {
		return "", fmt.Errorf("unable to verify node identity: %w", err)
	}
	return nodesGroup, nil
}

// TokenRequest is the body of a rotation, with k3s's name. Without a new token the server makes one.
type TokenRequest struct {
	NewToken string `json:"newToken,omitempty"`
}

func (h *handler) rotateToken(w http.ResponseWriter, r *http.Request) {
	var request TokenRequest
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest)).Decode(&request); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	fresh := request.NewToken
	if fresh != "" {
		if password, err := token.ServerPassword(fresh, h.serverCA.PEM); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		} else if fresh = password; token.LooksLikeBootstrap(fresh) {
			http.Error(w, "the new token has the form of a bootstrap token (6 characters, a dot, 16 characters): "+
				"agents could not join with it", http.StatusBadRequest)
			return
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), rotatePatience)
	defer cancel()
	store, err := bootstrap.Connect(h.options.Datastore)
	if err == nil {
		defer store.Close()
		h.rotating.Lock()
		defer h.rotating.Unlock()
		err = rotate(ctx, store, h.options.ServerDir, h.serverCA.PEM, fresh, h.options.AgentToken)
	}
	if err != nil {
		log.Errorf("Rotation of the token: %v", err)
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	log.Info("The server's token was rotated; this server takes the new one after its restart")
	w.WriteHeader(http.StatusOK)
}

// rotate changes the server's password in the files and seals the datastore's data with it, in k3s's order. Agents keep
// theirs when they have one of their own.
func rotate(ctx context.Context, store bootstrap.Store, serverDir string, caPEM []byte, fresh string, agentToken bool) error {
	file := filepath.Join(serverDir, bootstrap.PasswdFile)
	table, err := passwd.Read(file)
	if err != nil {
		return err
	}
	old := table.Password(passwd.Server)
	if old == "" {
		return errors.New("server token not found")
	}
	if fresh == "" {
		fresh = token.Random(16)
	}
	if !agentToken && table.Password(passwd.Node) == old {
		table.Ensure(passwd.Node, passwd.AgentGroup, fresh)
	}
	table.Ensure(passwd.Server, passwd.ServerGroup, fresh)
	if err := table.Write(file); err != nil {
		return err
	}
	if err := WriteToken(filepath.Join(serverDir, "token"), caPEM, fresh); err != nil {
		return err
	}
	return bootstrap.Rotate(ctx, store, serverDir, old, fresh)
}

// WriteToken writes the server's token in its full form.
func WriteToken(file string, caPEM []byte, password string) error {
	full, err := token.Format(caPEM, passwd.Server, password)
	if err != nil {
		return err
	}
	return files.Write(file, []byte(full+"\n"), 0o600)
}

func (h *handler) encryptionStatus(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), apiPatience)
	defer cancel()
	servers, err := h.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: RoleLabel + "=true"})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	annotations := map[string]string{}
	for _, n := range servers.Items {
		annotations[n.Name] = n.Annotations[encryption.Annotation]
	}
	status, err := encryption.Look(h.options.ServerDir, annotations)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	replyJSON(w, status)
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

// clientOf signs for one of the users that all nodes share.
func (h *handler) clientOf(user string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		h.sign(w, r, h.clientCA, certs.Leaf{CommonName: user, Usage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	}
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
	// An API that is only starting would let the caller hang; it is asked to retry.
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
