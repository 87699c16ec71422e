// Package server runs the control plane: datastore, API server with the supervisor's routes, scheduler, controllers.
package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	log "github.com/sirupsen/logrus"
	clientv3 "go.etcd.io/etcd/client/v3"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"edge-ai/lab/k3s/internal/agent"
	"edge-ai/lab/k3s/internal/bootstrap"
	"edge-ai/lab/k3s/internal/config"
	"edge-ai/lab/k3s/internal/deploy"
	"edge-ai/lab/k3s/internal/encryption"
	"edge-ai/lab/k3s/internal/etcd"
	"edge-ai/lab/k3s/internal/routes"
	"edge-ai/lab/k3s/internal/servicelb"
	"edge-ai/lab/k3s/internal/supervise"
)

// The images that build.sh puts into the airgap archive.
const (
	CoreDNSImage       = "docker.io/lab/coredns:1.14.7"
	TraefikImage       = "docker.io/lab/traefik:3.6.12"
	MetricsServerImage = "docker.io/lab/metrics-server:0.8.0"
)

// orphanAge is how long a node password without a Node is kept: a node that is just joining has none yet.
const orphanAge = 10 * time.Minute

// Server is the control plane of one machine.
type Server struct {
	Config *config.Config
	Group  *supervise.Group

	dir        string
	nodeName   string
	nodeIP     string
	advertise  string
	password   string // of the server token
	agentToken string

	etcd          *etcd.Node // nil with SQLite
	etcdClient    *clientv3.Client
	memberName    string
	joinEndpoints []string // of the cluster to join; nil for a server that has data or creates one
}

// Token is what the server's own agent joins with; empty before Start.
func (s *Server) Token() string { return s.agentToken }

// URL is where the server's own agent finds the API.
func (s *Server) URL() string { return s.localURL() }

// Start brings the API up and returns when it is ready; the rest goes on in the background until ctx ends.
func (s *Server) Start(ctx context.Context) error {
	if err := s.identify(); err != nil {
		return err
	}
	if err := s.chooseDatastore(ctx); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(s.dir, "db"), 0o700); err != nil {
		return err
	}
	started := time.Now()
	if err := s.startDatastore(ctx); err != nil {
		return err
	}
	err := s.withStore(ctx, func(ctx context.Context, store bootstrap.Store) error {
		if err := s.reconcile(ctx, store, false); err != nil {
			return err
		}
		if err := s.prepare(time.Now()); err != nil {
			return err
		}
		return s.save(ctx, store)
	})
	if err != nil {
		return err
	}
	if s.etcd != nil {
		s.runsOnEtcd(ctx)
	}
	s.startAPI()
	access, err := clientcmd.BuildConfigFromFlags("", s.cred("supervisor.kubeconfig"))
	if err != nil {
		return err
	}
	access.QPS, access.Burst = 50, 100
	client, err := kubernetes.NewForConfig(access)
	if err != nil {
		return err
	}
	if err := waitReady(ctx, client); err != nil {
		return err
	}
	log.Infof("API is ready %s after its start", time.Since(started).Round(100*time.Millisecond))
	s.startControllers()
	manifests, err := s.manifests(ctx, access)
	if err != nil {
		return err
	}
	go manifests.Run(ctx)
	if !s.Config.Disabled("servicelb") {
		go servicelb.Run(ctx, client)
	}
	if !s.Config.DisableAgent {
		go s.labelNode(ctx, client)
	}
	go s.sweepPasswords(ctx, client)
	if s.etcd != nil {
		return s.removeMembers(ctx, client)
	}
	return nil
}

// identify settles names and addresses.
func (s *Server) identify() (err error) {
	s.dir = filepath.Join(s.Config.DataDir, "server")
	if s.nodeName, err = agent.NodeName(s.Config); err != nil {
		return err
	}
	if s.nodeIP, err = agent.NodeIP(s.Config); err != nil {
		return err
	}
	if s.advertise = s.Config.AdvertiseAddress; s.advertise == "" {
		s.advertise = s.nodeIP
	}
	return nil
}

func waitReady(ctx context.Context, client kubernetes.Interface) error {
	return wait.PollUntilContextCancel(ctx, 250*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		// Without a limit, a request that began before the listener's handlers were complete could hang.
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		_, err := client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
		if err != nil {
			log.Debugf("API is not ready: %v", err)
		}
		return err == nil, nil
	})
}

func (s *Server) socket() string { return filepath.Join(s.dir, "kine.sock") }

func (s *Server) startKine() {
	s.Group.Start(supervise.Component{
		Name: "kine",
		Args: []string{
			"--listen-address=unix://" + s.socket(),
			"--endpoint=sqlite://" + filepath.Join(s.dir, "db", "state.db") +
				"?_journal_mode=WAL&_busy_timeout=30000&_synchronous=NORMAL&_txlock=immediate&cache=shared",
			"--metrics-bind-address=0",
		},
		Phase: 4,
	})
}

func (s *Server) startAPI() {
	c := s.Config
	args := []string{
		"--advertise-address=" + s.advertise,
		"--allow-privileged=true",
		"--anonymous-auth=false",
		"--api-audiences=https://kubernetes.default.svc." + c.ClusterDomain + ",k3s",
		"--authorization-mode=Node,RBAC",
		"--bind-address=" + c.BindAddress,
		"--client-ca-file=" + s.tls("client-ca.crt"),
		"--enable-admission-plugins=NodeRestriction",
		"--enable-aggregator-routing=true",
		"--enable-bootstrap-token-auth=true",
		"--endpoint-reconciler-type=lease",
		"--kubelet-certificate-authority=" + s.tls("server-ca.crt"),
		"--kubelet-client-certificate=" + s.tls("client-kube-apiserver.crt"),
		"--kubelet-client-key=" + s.tls("client-kube-apiserver.key"),
		"--kubelet-preferred-address-types=InternalIP,ExternalIP,Hostname",
		"--profiling=false",
		"--proxy-client-cert-file=" + s.tls("client-auth-proxy.crt"),
		"--proxy-client-key-file=" + s.tls("client-auth-proxy.key"),
		"--requestheader-allowed-names=system:auth-proxy",
		"--requestheader-client-ca-file=" + s.tls("request-header-ca.crt"),
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-username-headers=X-Remote-User",
		"--secure-port=" + strconv.Itoa(c.HTTPSListenPort),
		"--service-account-issuer=https://kubernetes.default.svc." + c.ClusterDomain,
		"--service-account-key-file=" + s.tls("service.key"),
		"--service-account-signing-key-file=" + s.tls("service.key"),
		"--service-cluster-ip-range=" + c.ServiceCIDR[0],
		"--service-node-port-range=" + c.ServiceNodePortRange,
		"--storage-backend=etcd3",
		"--tls-cert-file=" + s.tls("serving-kube-apiserver.crt"),
		"--tls-cipher-suites=" + cipherSuites,
		"--tls-private-key-file=" + s.tls("serving-kube-apiserver.key"),
		"--v=" + strconv.Itoa(c.Verbosity),
	}
	if c.SecretsEncryption {
		args = append(args, "--encryption-provider-config="+encryption.ConfigFile(s.dir), "--encryption-provider-config-automatic-reload=true")
	}
	if s.etcd == nil {
		args = append(args, "--etcd-servers=unix://"+s.socket())
	} else {
		args = append(args, "--etcd-servers="+etcd.LocalURL, "--etcd-cafile="+s.tls("etcd/server-ca.crt"),
			"--etcd-certfile="+s.tls("etcd/client.crt"), "--etcd-keyfile="+s.tls("etcd/client.key"))
	}
	s.Group.Start(supervise.Component{
		Name:  "kube-apiserver",
		Args:  config.Flags(args, c.APIServerArgs),
		Env:   []string{"K3S_SUPERVISOR_OPTIONS=" + s.optionsFile()},
		Phase: 3,
	})
}

// cipherSuites are k3s's for TLS 1.2.
const cipherSuites = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256," +
	"TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384," +
	"TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"

func (s *Server) startControllers() {
	c := s.Config
	// A certificate is given so that neither of them spends a second on an RSA key of its own.
	common := func(kubeconfig string) []string {
		return []string{
			"--kubeconfig=" + kubeconfig,
			"--authentication-kubeconfig=" + kubeconfig,
			"--authorization-kubeconfig=" + kubeconfig,
			"--bind-address=127.0.0.1",
			"--leader-elect=" + strconv.FormatBool(s.etcd != nil), // with SQLite there is one server
			"--profiling=false",
			"--tls-cert-file=" + s.tls("serving-kube-apiserver.crt"),
			"--tls-private-key-file=" + s.tls("serving-kube-apiserver.key"),
			"--v=" + strconv.Itoa(c.Verbosity),
		}
	}
	manager := append(common(s.cred("controller.kubeconfig")),
		"--allocate-node-cidrs=true",
		"--cluster-cidr="+c.ClusterCIDR[0],
		"--service-cluster-ip-range="+c.ServiceCIDR[0],
		"--cluster-signing-kube-apiserver-client-cert-file="+s.tls("client-ca.crt"),
		"--cluster-signing-kube-apiserver-client-key-file="+s.tls("client-ca.key"),
		"--cluster-signing-kubelet-client-cert-file="+s.tls("client-ca.crt"),
		"--cluster-signing-kubelet-client-key-file="+s.tls("client-ca.key"),
		"--cluster-signing-kubelet-serving-cert-file="+s.tls("server-ca.crt"),
		"--cluster-signing-kubelet-serving-key-file="+s.tls("server-ca.key"),
		"--cluster-signing-legacy-unknown-cert-file="+s.tls("server-ca.crt"),
		"--cluster-signing-legacy-unknown-key-file="+s.tls("server-ca.key"),
		"--configure-cloud-routes=false",
		"--controllers=*,tokencleaner",
		"--root-ca-file="+s.tls("server-ca.crt"),
		"--service-account-private-key-file="+s.tls("service.key"),
		"--use-service-account-credentials=true",
	)
	s.Group.Start(supervise.Component{Name: "kube-controller-manager", Args: config.Flags(manager, c.ControllerManagerArgs), Phase: 2})
	s.Group.Start(supervise.Component{Name: "kube-scheduler",
		Args: config.Flags(common(s.cred("scheduler.kubeconfig")), c.SchedulerArgs), Phase: 2})
}

// manifests writes or removes the packaged components and gives the controller of the directory.
func (s *Server) manifests(ctx context.Context, config *rest.Config) (*deploy.Controller, error) {
	dir := filepath.Join(s.dir, "manifests")
	controller, err := deploy.New(config, dir)
	if err != nil {
		return nil, err
	}
	packaged, err := deploy.Packaged(deploy.Vars{
		ClusterDNS: s.Config.ClusterDNS[0], ClusterDomain: s.Config.ClusterDomain,
		CoreDNSImage: CoreDNSImage, TraefikImage: TraefikImage, MetricsServerImage: MetricsServerImage,
	})
	if err != nil {
		return nil, err
	}
	for name, text := range packaged {
		if s.Config.Disabled(deploy.Component(name)) {
			err = controller.Remove(ctx, name, text)
		} else {
			err = deploy.WritePackaged(dir, name, text)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	if !s.Config.Disabled("local-storage") {
		log.Warn("k3s would deploy local-storage; this lab build has none")
	}
	return controller, nil
}

// labelNode gives the server's Node the role that a kubelet may not give itself, whenever it lacks it.
func (s *Server) labelNode(ctx context.Context, client kubernetes.Interface) {
	labels, annotations := map[string]string{routes.RoleLabel: "true"}, map[string]string{}
	if state, err := encryption.State(s.dir); err != nil {
		log.Errorf("State of the encryption of Secrets: %v", err)
	} else if s.Config.SecretsEncryption {
		annotations[encryption.Annotation] = state
	}
	if s.etcd != nil {
		labels["node-role.kubernetes.io/etcd"] = "true"
		annotations[memberAnnotation] = s.memberName
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": labels, "annotations": annotations}})
	if err != nil {
		panic(err) // a map of strings
	}
	wait := time.Second
	for {
		node, err := client.CoreV1().Nodes().Get(ctx, s.nodeName, metav1.GetOptions{})
		if err == nil && !(has(node.Labels, labels) && has(node.Annotations, annotations)) {
			_, err = client.CoreV1().Nodes().Patch(ctx, s.nodeName, types.MergePatchType, patch, metav1.PatchOptions{})
		}
		if err == nil {
			wait = time.Minute
		} else if wait = time.Second; !apierrors.IsNotFound(err) {
			log.Warnf("Failed to set the role label of node %s: %v", s.nodeName, err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// has reports whether all of want is in have.
func has(have, want map[string]string) bool {
	for k, v := range want {
		if have[k] != v {
			return false
		}
	}
	return true
}

// sweepPasswords ties each node's password to its Node, so that it goes with it, and deletes old ones without a Node.
func (s *Server) sweepPasswords(ctx context.Context, client kubernetes.Interface) {
	wait.UntilWithContext(ctx, func(ctx context.Context) {
		if err := sweep(ctx, client, time.Now()); err != nil {
			log.Warnf("Node passwords: %v", err)
		}
	}, 30*time.Second)
}

func sweep(ctx context.Context, client kubernetes.Interface, now time.Time) error {
	secrets := client.CoreV1().Secrets(metav1.NamespaceSystem)
	list, err := secrets.List(ctx, metav1.ListOptions{FieldSelector: "type=" + routes.SecretType})
	if err != nil {
		return err
	}
	var errs []error
	for i := range list.Items {
		secret := &list.Items[i]
		name := strings.TrimSuffix(secret.Name, routes.SecretSuffix)
		node, err := client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			if now.Sub(secret.CreationTimestamp.Time) > orphanAge {
				err = secrets.Delete(ctx, secret.Name, metav1.DeleteOptions{})
			} else {
				err = nil
			}
		case err == nil && len(secret.OwnerReferences) == 0:
			err = own(ctx, client, secret, node)
		}
		if err != nil && !apierrors.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("%s: %w", secret.Name, err))
		}
	}
	return errors.Join(errs...)
}

func own(ctx context.Context, client kubernetes.Interface, secret *corev1.Secret, node *corev1.Node) error {
	secret = secret.DeepCopy()
	secret.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID}}
	_, err := client.CoreV1().Secrets(metav1.NamespaceSystem).Update(ctx, secret, metav1.UpdateOptions{})
	return err
}
