// Package config reads k3s's configuration: command line, config.yaml with its drop-ins, and environment.
//
// Order of precedence, as in k3s: command line, then files (config.yaml, then config.yaml.d in
// alphabetical order), then environment, then default. A list on the command line replaces the list of the files.
// A key that k3s does not know is skipped with a warning by a server and fatal for an agent, as in k3s. A key of k3s
// that this build cannot obey is an error for both.
package config

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/robfig/cron/v3"
	log "github.com/sirupsen/logrus"
)

// DefaultDataDir is where k3s keeps its data unless data-dir says otherwise.
const DefaultDataDir = "/var/lib/rancher/k3s"

// Role is what a node is started as; keys.txt lists which keys belong to which.
type Role string

// The two roles, named as the sub-commands are.
const (
	Server Role = "server"
	Agent  Role = "agent"
)

// DefaultFile is where the configuration is read from unless --config or K3S_CONFIG_FILE says otherwise.
const DefaultFile = "/etc/rancher/k3s/config.yaml"

// Config holds every supported setting with its type. Fields are named after the keys.
type Config struct {
	Role Role

	// Both roles.
	Token                 string
	TokenFile             string
	ServerURL             string
	DataDir               string
	NodeName              string
	WithNodeID            bool
	NodeIP                []string
	NodeLabels            []string
	NodeTaints            []string
	FlannelIface          string
	KubeletArgs           []string
	KubeProxyArgs         []string
	PauseImage            string
	ResolvConf            string
	ProtectKernelDefaults bool
	BindAddress           string // an agent accepts it, to no effect
	LBServerPort          int
	PrivateRegistry       string
	Debug                 bool
	Verbosity             int

	// Server only.
	AgentToken             string
	AgentTokenFile         string
	WriteKubeconfig        string
	WriteKubeconfigMode    string
	TLSSAN                 []string
	ClusterCIDR            []string
	ServiceCIDR            []string
	ServiceNodePortRange   string
	ClusterDNS             []string
	ClusterDomain          string
	AdvertiseAddress       string
	HTTPSListenPort        int
	Disable                []string
	FlannelBackend         string
	APIServerArgs          []string
	ControllerManagerArgs  []string
	SchedulerArgs          []string
	DisableNetworkPolicy   bool
	DisableCloudController bool
	DisableHelmController  bool
	DisableKubeProxy       bool
	DisableAgent           bool

	SecretsEncryption         bool
	SecretsEncryptionProvider string

	// Server only: embedded etcd.
	ClusterInit             bool
	ClusterReset            bool
	ClusterResetRestorePath string
	EtcdExposeMetrics       bool
	EtcdDisableSnapshots    bool
	EtcdSnapshotName        string
	EtcdSnapshotCron        string
	EtcdSnapshotRetention   int
	EtcdSnapshotDir         string // empty means <data-dir>/server/db/snapshots
	EtcdArgs                []string
}

func defaults(role Role) *Config {
	return &Config{
		Role:                 role,
		DataDir:              DefaultDataDir,
		PauseImage:           "docker.io/lab/pause:1",
		LBServerPort:         6444,
		PrivateRegistry:      "/etc/rancher/k3s/registries.yaml",
		WriteKubeconfig:      "/etc/rancher/k3s/k3s.yaml",
		WriteKubeconfigMode:  "0600",
		ClusterCIDR:          []string{"10.42.0.0/16"},
		ServiceCIDR:          []string{"10.43.0.0/16"},
		ServiceNodePortRange: "30000-32767",
		ClusterDomain:        "cluster.local",
		BindAddress:          "0.0.0.0",
		HTTPSListenPort:      6443,
		FlannelBackend:       "vxlan",

		SecretsEncryptionProvider: EncryptionProviders[0],

		EtcdSnapshotName:      "etcd-snapshot",
		EtcdSnapshotCron:      "0 */12 * * *",
		EtcdSnapshotRetention: 5,
	}
}

// key ties a k3s key to its typed place in Config.
type key struct {
	name string
	env  string
	dest value
}

func (c *Config) keys() []key {
	return []key{
		{"token", "K3S_TOKEN", (*text)(&c.Token)},
		{"token-file", "K3S_TOKEN_FILE", (*text)(&c.TokenFile)},
		{"server", "K3S_URL", (*text)(&c.ServerURL)},
		{"data-dir", "K3S_DATA_DIR", (*text)(&c.DataDir)},
		{"node-name", "K3S_NODE_NAME", (*text)(&c.NodeName)},
		{"with-node-id", "", (*boolean)(&c.WithNodeID)},
		{"node-ip", "", &list{&c.NodeIP, true}},
		{"node-label", "", &list{&c.NodeLabels, false}},
		{"node-taint", "", &list{&c.NodeTaints, false}},
		{"flannel-iface", "", (*text)(&c.FlannelIface)},
		{"kubelet-arg", "", &list{&c.KubeletArgs, false}},
		{"kube-proxy-arg", "", &list{&c.KubeProxyArgs, false}},
		{"pause-image", "", (*text)(&c.PauseImage)},
		{"resolv-conf", "K3S_RESOLV_CONF", (*text)(&c.ResolvConf)},
		{"protect-kernel-defaults", "", (*boolean)(&c.ProtectKernelDefaults)},
		{"bind-address", "", (*text)(&c.BindAddress)},
		{"lb-server-port", "K3S_LB_SERVER_PORT", (*integer)(&c.LBServerPort)},
		{"private-registry", "", (*text)(&c.PrivateRegistry)},
		{"debug", "K3S_DEBUG", (*boolean)(&c.Debug)},
		{"v", "", (*integer)(&c.Verbosity)},

		{"agent-token", "K3S_AGENT_TOKEN", (*text)(&c.AgentToken)},
		{"agent-token-file", "K3S_AGENT_TOKEN_FILE", (*text)(&c.AgentTokenFile)},
		{"write-kubeconfig", "K3S_KUBECONFIG_OUTPUT", (*text)(&c.WriteKubeconfig)},
		{"write-kubeconfig-mode", "K3S_KUBECONFIG_MODE", (*mode)(&c.WriteKubeconfigMode)},
		{"tls-san", "", &list{&c.TLSSAN, true}},
		{"cluster-cidr", "", &list{&c.ClusterCIDR, true}},
		{"service-cidr", "", &list{&c.ServiceCIDR, true}},
		{"service-node-port-range", "", (*text)(&c.ServiceNodePortRange)},
		{"cluster-dns", "", &list{&c.ClusterDNS, true}},
		{"cluster-domain", "", (*text)(&c.ClusterDomain)},
		{"advertise-address", "", (*text)(&c.AdvertiseAddress)},
		{"https-listen-port", "", (*integer)(&c.HTTPSListenPort)},
		{"disable", "", &list{&c.Disable, true}},
		{"flannel-backend", "", (*text)(&c.FlannelBackend)},
		{"kube-apiserver-arg", "", &list{&c.APIServerArgs, false}},
		{"kube-controller-manager-arg", "", &list{&c.ControllerManagerArgs, false}},
		{"kube-scheduler-arg", "", &list{&c.SchedulerArgs, false}},
		{"disable-network-policy", "", (*boolean)(&c.DisableNetworkPolicy)},
		{"disable-cloud-controller", "", (*boolean)(&c.DisableCloudController)},
		{"disable-helm-controller", "", (*boolean)(&c.DisableHelmController)},
		{"disable-kube-proxy", "", (*boolean)(&c.DisableKubeProxy)},
		{"disable-agent", "", (*boolean)(&c.DisableAgent)},
		{"secrets-encryption", "", (*boolean)(&c.SecretsEncryption)},
		{"secrets-encryption-provider", "", (*text)(&c.SecretsEncryptionProvider)},

		{"cluster-init", "K3S_CLUSTER_INIT", (*boolean)(&c.ClusterInit)},
		{"cluster-reset", "K3S_CLUSTER_RESET", (*boolean)(&c.ClusterReset)},
		{"cluster-reset-restore-path", "", (*text)(&c.ClusterResetRestorePath)},
		{"etcd-expose-metrics", "", (*boolean)(&c.EtcdExposeMetrics)},
		{"etcd-disable-snapshots", "", (*boolean)(&c.EtcdDisableSnapshots)},
		{"etcd-snapshot-name", "", (*text)(&c.EtcdSnapshotName)},
		{"etcd-snapshot-schedule-cron", "", (*text)(&c.EtcdSnapshotCron)},
		{"etcd-snapshot-retention", "", (*integer)(&c.EtcdSnapshotRetention)},
		{"etcd-snapshot-dir", "", (*text)(&c.EtcdSnapshotDir)},
		{"etcd-arg", "", &list{&c.EtcdArgs, false}},
	}
}

// Packaged are the names that k3s accepts in `disable`. This build lacks local-storage, runtimes and ccm.
var Packaged = []string{"coredns", "servicelb", "traefik", "local-storage", "metrics-server", "runtimes", "ccm"}

// EncryptionProviders are the values of secrets-encryption-provider; the first is the default.
var EncryptionProviders = []string{"aescbc", "secretbox"}

// Load merges command line, files and environment, and checks the outcome. All errors are returned together.
func Load(role Role, args []string) (*Config, error) {
	return load(role, args, os.LookupEnv)
}

func load(role Role, args []string, env func(string) (string, bool)) (*Config, error) {
	c := defaults(role)
	table := map[string]key{}
	for _, k := range c.keys() {
		table[k.name] = k
	}
	flags, file, err := parseArgs(role, args)
	if err != nil {
		return nil, err
	}
	explicit := file != ""
	if !explicit {
		file, explicit = env("K3S_CONFIG_FILE")
	}
	if file == "" {
		file, explicit = DefaultFile, false
	}
	settings, errs := readFiles(file, explicit)

	given := map[string]bool{}
	apply := func(s setting) {
		if known, ok := k3sKeys[s.key]; !ok || !known.belongs(role) {
			if role == Server {
				log.Warnf("Unknown flag --%s found in config.yaml, skipping", s.key)
			} else {
				errs = append(errs, fmt.Errorf("%s: %w", s.where, notDefined(s.key)))
			}
			return
		}
		k, ok := table[s.key]
		if !ok {
			errs = append(errs, fmt.Errorf("%s: %w", s.where, notBuilt(s.key)))
			return
		}
		if err := k.dest.set(s.values, s.isList, s.isNumber); err != nil {
			errs = append(errs, fmt.Errorf("%s: key %q: %w", s.where, s.key, err))
		}
		given[s.key] = true
	}
	for _, s := range settings {
		apply(s)
	}
	for _, s := range flags {
		apply(s)
	}
	for name, k := range table {
		if k.env == "" || given[name] || !k3sKeys[name].belongs(role) {
			continue
		}
		if v, ok := env(k.env); ok && v != "" {
			apply(setting{key: name, values: []string{v}, where: "environment variable " + k.env})
		}
	}
	if len(errs) == 0 {
		errs = c.check()
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return c, nil
}

var (
	nodeName     = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`)
	label        = regexp.MustCompile(`^([a-z0-9.-]+/)?[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?=([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)?$`)
	taint        = regexp.MustCompile(`^[^=:]+(=[^:]*)?:(NoSchedule|PreferNoSchedule|NoExecute)$`)
	snapshotName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)
	portPair     = regexp.MustCompile(`^[0-9]+-[0-9]+$`)
)

// check completes derived values and validates them; it returns every error it finds.
func (c *Config) check() (errs []error) {
	bad := func(key, format string, args ...any) {
		errs = append(errs, fmt.Errorf("key %q: %s", key, fmt.Sprintf(format, args...)))
	}
	if c.TokenFile != "" && c.Token == "" {
		c.Token = readToken(c.TokenFile, "token-file", bad)
	}
	if c.AgentTokenFile != "" && c.AgentToken == "" {
		c.AgentToken = readToken(c.AgentTokenFile, "agent-token-file", bad)
	}
	if c.Role == Agent {
		if c.ServerURL == "" {
			errs = append(errs, errors.New("--server is required"))
		}
		if c.Token == "" && !c.hasCertificate() {
			errs = append(errs, errors.New("--token is required"))
		}
	}
	if c.ServerURL != "" {
		if u, err := url.Parse(c.ServerURL); err != nil || u.Scheme != "https" || u.Host == "" {
			bad("server", "%q is not a URL of the form https://HOST:6443", c.ServerURL)
		}
		if c.Role == Server && c.Token == "" {
			errs = append(errs, errors.New("--token is required: K3S_TOKEN is required to join a cluster"))
		}
	}
	if c.NodeName == "" {
		name, err := os.Hostname()
		if err != nil {
			bad("node-name", "not set, and the host has no name: %v", err)
		}
		c.NodeName = name
	}
	c.NodeName = strings.ToLower(c.NodeName)
	if !nodeName.MatchString(c.NodeName) {
		bad("node-name", "%q is not a DNS name (lower-case letters, digits, - and .)", c.NodeName)
	}
	if len(c.NodeIP) > 1 {
		bad("node-ip", "one IPv4 address is supported, got %d", len(c.NodeIP))
	}
	for _, ip := range c.NodeIP {
		if a, err := netip.ParseAddr(ip); err != nil || !a.Is4() {
			bad("node-ip", "%q is not an IPv4 address", ip)
		}
	}
	for _, l := range c.NodeLabels {
		if !label.MatchString(l) {
			bad("node-label", "%q is not of the form key=value", l)
		}
	}
	for _, t := range c.NodeTaints {
		if !taint.MatchString(t) {
			bad("node-taint", "%q is not of the form key=value:Effect", t)
		}
	}
	for key, args := range map[string][]string{"kubelet-arg": c.KubeletArgs, "kube-proxy-arg": c.KubeProxyArgs,
		"kube-apiserver-arg": c.APIServerArgs, "kube-controller-manager-arg": c.ControllerManagerArgs, "kube-scheduler-arg": c.SchedulerArgs, "etcd-arg": c.EtcdArgs} {
		for _, a := range args {
			if name, _, _ := strings.Cut(strings.TrimLeft(a, "-"), "="); strings.TrimRight(name, "+-") == "" {
				bad(key, "%q is not of the form flag=value", a)
			}
		}
	}
	for key, port := range map[string]int{"https-listen-port": c.HTTPSListenPort, "lb-server-port": c.LBServerPort} {
		if port < 1 || port > 65535 {
			bad(key, "%d is not a port", port)
		}
	}
	if net.ParseIP(c.BindAddress) == nil {
		bad("bind-address", "%q is not an address", c.BindAddress)
	}
	if !strings.HasPrefix(c.DataDir, "/") {
		bad("data-dir", "%q is not an absolute path", c.DataDir)
	}
	if c.Role == Server {
		c.checkServer(bad)
	}
	return errs
}

// hasCertificate reports whether this agent has joined a cluster before; then it needs no token.
func (c *Config) hasCertificate() bool {
	dir := filepath.Join(c.DataDir, "agent")
	_, err := tls.LoadX509KeyPair(filepath.Join(dir, "client-kubelet.crt"), filepath.Join(dir, "client-kubelet.key"))
	return err == nil
}

func (c *Config) checkServer(bad func(key, format string, args ...any)) {
	cluster := onePrefix("cluster-cidr", c.ClusterCIDR, bad)
	service := onePrefix("service-cidr", c.ServiceCIDR, bad)
	if cluster.IsValid() && service.IsValid() && cluster.Overlaps(service) {
		bad("service-cidr", "%s overlaps with cluster-cidr %s", service, cluster)
	}
	switch {
	case len(c.ClusterDNS) > 1:
		bad("cluster-dns", "one address is supported, got %d", len(c.ClusterDNS))
	case len(c.ClusterDNS) == 1:
		if a, err := netip.ParseAddr(c.ClusterDNS[0]); err != nil || (service.IsValid() && !service.Contains(a)) {
			bad("cluster-dns", "%q is not an address of service-cidr %s", c.ClusterDNS[0], service)
		}
	case service.IsValid():
		a := service.Masked().Addr()
		for range 10 { // k3s takes the tenth address
			a = a.Next()
		}
		c.ClusterDNS = []string{a.String()}
	}
	if !portPair.MatchString(c.ServiceNodePortRange) {
		bad("service-node-port-range", "%q is not of the form 30000-32767", c.ServiceNodePortRange)
	}
	if !slices.Contains([]string{"vxlan", "host-gw", "none"}, c.FlannelBackend) {
		bad("flannel-backend", "%q is not supported; choose vxlan, host-gw or none", c.FlannelBackend)
	}
	for _, d := range c.Disable {
		if !slices.Contains(Packaged, d) {
			bad("disable", "%q is not a packaged component; names are %s", d, strings.Join(Packaged, ", "))
		}
	}
	switch {
	case c.ClusterResetRestorePath != "" && !c.ClusterReset:
		bad("cluster-reset-restore-path", "invalid flag use; --cluster-reset required with --cluster-reset-restore-path")
	case c.ClusterReset && c.ServerURL != "":
		bad("cluster-reset", "cannot perform cluster-reset while server URL is set - remove server from configuration before resetting")
	}
	if _, err := cron.ParseStandard(c.EtcdSnapshotCron); err != nil {
		bad("etcd-snapshot-schedule-cron", "%v", err)
	}
	if c.EtcdSnapshotRetention < 1 {
		bad("etcd-snapshot-retention", "%d is not 1 or more", c.EtcdSnapshotRetention)
	}
	if !snapshotName.MatchString(c.EtcdSnapshotName) {
		bad("etcd-snapshot-name", "%q is not a file name of letters, digits, dots, _ and -", c.EtcdSnapshotName)
	}
	if c.EtcdSnapshotDir == "" {
		c.EtcdSnapshotDir = filepath.Join(c.DataDir, "server", "db", "snapshots")
	} else if info, err := os.Stat(c.EtcdSnapshotDir); err != nil || !info.IsDir() {
		bad("etcd-snapshot-dir", "%q is not a directory that exists", c.EtcdSnapshotDir)
	}
	if a := c.AdvertiseAddress; a != "" && net.ParseIP(a) == nil {
		bad("advertise-address", "%q is not an address", a)
	}
	if !slices.Contains(EncryptionProviders, c.SecretsEncryptionProvider) {
		bad("secrets-encryption-provider", "%q is not one of %s", c.SecretsEncryptionProvider, strings.Join(EncryptionProviders, ", "))
	}
}

func onePrefix(key string, values []string, bad func(key, format string, args ...any)) netip.Prefix {
	if len(values) != 1 {
		bad(key, "one IPv4 network is supported, got %d", len(values))
		return netip.Prefix{}
	}
	p, err := netip.ParsePrefix(values[0])
	if err != nil || !p.Addr().Is4() {
		bad(key, "%q is not an IPv4 network", values[0])
		return netip.Prefix{}
	}
	return p
}

func readToken(file, key string, bad func(key, format string, args ...any)) string {
	data, err := os.ReadFile(file)
	if err != nil {
		bad(key, "%v", err)
		return ""
	}
	return strings.TrimSpace(string(data))
}

// Disabled reports whether a packaged component was disabled.
func (c *Config) Disabled(name string) bool { return slices.Contains(c.Disable, name) }
