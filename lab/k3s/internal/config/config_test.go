package config

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	log "github.com/sirupsen/logrus"

	"edge-ai/lab/k3s/internal/certs"
)

// write makes config.yaml and drop-ins in a fresh directory and returns the main file.
func write(t *testing.T, main string, dropIns map[string]string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.yaml")
	if main != "" {
		if err := os.WriteFile(file, []byte(main), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range dropIns {
		if err := os.MkdirAll(file+".d", 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(file+".d", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return file
}

func noEnv(string) (string, bool) { return "", false }

func TestPrecedence(t *testing.T) {
	file := write(t, "node-name: FromFile\ntls-san: [a, b]\nnode-label:\n- x=1\ndisable: traefik,servicelb\n", map[string]string{
		"10.yaml":    "node-label+:\n- y=2\n",
		"20.yml":     "tls-san: c\nwrite-kubeconfig-mode: \"0644\"\n",
		"ignored.md": "this: is not read",
	})
	env := func(name string) (string, bool) {
		v, ok := map[string]string{"K3S_TOKEN": "fromenv", "K3S_NODE_NAME": "fromenv"}[name]
		return v, ok
	}
	c, err := load(Server, []string{"--config", file, "--node-ip=10.0.0.1", "--kubelet-arg", "v=2", "--kubelet-arg=max-pods=20", "--debug"}, env)
	if err != nil {
		t.Fatal(err)
	}
	for name, pair := range map[string][2]any{
		"file beats environment, lower case": {c.NodeName, "fromfile"},
		"environment beats default":          {c.Token, "fromenv"},
		"drop-in replaces a list":            {c.TLSSAN, []string{"c"}},
		"drop-in appends to a list":          {c.NodeLabels, []string{"x=1", "y=2"}},
		"commas":                             {c.Disable, []string{"traefik", "servicelb"}},
		"mode":                               {c.WriteKubeconfigMode, "0644"},
		"repeated flag":                      {c.KubeletArgs, []string{"v=2", "max-pods=20"}},
		"bare flag":                          {c.Debug, true},
		"tenth service address":              {c.ClusterDNS, []string{"10.43.0.10"}},
	} {
		if !reflect.DeepEqual(pair[0], pair[1]) {
			t.Errorf("%s: got %v, want %v", name, pair[0], pair[1])
		}
	}
}

func TestCommandLineListReplacesFile(t *testing.T) {
	file := write(t, "tls-san: [a, b]\nhttps-listen-port: 7000\n", nil)
	c, err := load(Server, []string{"-c", file, "--tls-san=x"}, noEnv)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(c.TLSSAN, []string{"x"}) || c.HTTPSListenPort != 7000 {
		t.Errorf("got %v and %d", c.TLSSAN, c.HTTPSListenPort)
	}
}

func TestDropInsWorkAlone(t *testing.T) {
	file := write(t, "", map[string]string{"a.yaml": "token: t\nserver: https://s:6443\n"})
	if err := os.WriteFile(file, nil, 0o600); err != nil { // --config wants a file; an empty one holds nothing
		t.Fatal(err)
	}
	c, err := load(Agent, []string{"--config=" + file}, noEnv)
	if err != nil {
		t.Fatal(err)
	}
	if c.Token != "t" {
		t.Errorf("token %q", c.Token)
	}
}

func TestErrors(t *testing.T) {
	agent := "server: https://s:6443\ntoken: t\n"
	for _, c := range []struct {
		role Role
		text string
		want string
	}{
		{Agent, agent + "flanel-iface: eth0\n", `line 3: flag provided but not defined: -flanel-iface`},
		{Agent, agent + "system-default-registry: a\n", `flag provided but not defined: -system-default-registry`},
		{Agent, agent + "docker: true\n", `"docker" is a key of k3s that this lab build does not support`},
		{Server, "etcd-s3: true\n", `"etcd-s3" is a key of k3s that this lab build does not support`},
		{Agent, agent + "disable-network-policy: true\n", "flag provided but not defined: -disable-network-policy"},
		{Agent, agent + "cluster-init: true\n", "flag provided but not defined: -cluster-init"},
		{Server, "cluster-reset-restore-path: /a\n", "invalid flag use; --cluster-reset required with --cluster-reset-restore-path"},
		{Server, "cluster-reset: true\nserver: https://s:6443\ntoken: t\n", "cannot perform cluster-reset while server URL is set"},
		{Server, "etcd-snapshot-schedule-cron: sometimes\n", `key "etcd-snapshot-schedule-cron"`},
		{Server, "etcd-snapshot-retention: 0\n", "is not 1 or more"},
		{Server, "etcd-snapshot-name: a/b\n", "is not a file name"},
		{Server, "etcd-snapshot-dir: /no/where\n", "is not a directory that exists"},
		{Agent, agent + "tls-san: x\n", "flag provided but not defined: -tls-san"},
		{Server, "write-kubeconfig-mode: 0644\n", `quote the mode: "0644"`},
		{Server, "write-kubeconfig-mode: \"rw\"\n", "is not a file mode"},
		{Server, "https-listen-port: many\n", "is not a whole number"},
		{Server, "debug: perhaps\n", "is not true or false"},
		{Server, "node-name: [a, b]\n", "one value is wanted, not a list"},
		{Server, "node-name: {a: b}\n", "a value or a list is wanted"},
		{Server, "debug:\n", `"" is not true or false`},
		{Server, "https-listen-port:\n", `"" is not a whole number`},
		{Agent, agent + "bind-address: here\n", "is not an address"},
		{Server, "secrets-encryption-provider: rot13\n", "is not one of aescbc, secretbox"},
		{Server, "kubelet-arg: [+=a]\n", "is not of the form flag=value"},
		{Server, "debug: true\ndebug: false\n", `key "debug" is given twice`},
		{Server, "- a\n", "keys and values are wanted"},
		{Server, "flannel-backend: wireguard-native\n", `"wireguard-native" is not supported; choose vxlan, host-gw or none`},
		{Server, "disable: trafik\n", `"trafik" is not a packaged component`},
		{Server, "cluster-cidr: 10.43.0.0/16\n", "overlaps"},
		{Server, "cluster-cidr: 10.42.0.0\n", "is not an IPv4 network"},
		{Server, "cluster-dns: 10.9.9.9\n", "is not an address of service-cidr"},
		{Server, "node-ip: somewhere\n", "is not an IPv4 address"},
		{Server, "node-label: broken\n", "is not of the form key=value"},
		{Server, "node-taint: a=b\n", "is not of the form key=value:Effect"},
		{Server, "server: https://other:6443\n", "K3S_TOKEN is required to join a cluster"},
		{Server, "https-listen-port: 70000\n", "is not a port"},
		{Server, "token-file: /nowhere/at/all\n", "no such file"},
		{Agent, "token: t\n", "--server is required"},
		{Agent, "server: https://s:6443\n", "--token is required"},
		{Agent, "server: http://s:6443\ntoken: t\n", "is not a URL of the form https://HOST:6443"},
	} {
		file := write(t, c.text, nil)
		_, err := load(c.role, []string{"--config", file}, noEnv)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: got %v, want %q", c.text, err, c.want)
		}
	}
}

func TestErrorsAreReportedTogether(t *testing.T) {
	file := write(t, "server: https://s:6443\ntoken: t\none: 1\ntwo: 2\n", map[string]string{"x.YAML": "three: 3\n"})
	_, err := load(Agent, []string{"--config", file}, noEnv)
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{file + ": line 3: flag provided but not defined: -one", "not defined: -two",
		filepath.Join(file+".d", "x.YAML") + ": line 1: flag provided but not defined: -three"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in %q", want, err)
		}
	}
}

func TestServerSkipsWhatK3sDoesNotKnow(t *testing.T) {
	var out strings.Builder
	log.SetOutput(&out)
	defer log.SetOutput(os.Stderr)
	file := write(t, "flanel-backend: host-gw\ndisable-apiserver-lb: true\ntoken:\n", nil)
	c, err := load(Server, []string{"--config", file}, noEnv)
	if err != nil || c.FlannelBackend != "vxlan" || c.Token != "" {
		t.Errorf("%+v, %v", c, err)
	}
	for _, key := range []string{"flanel-backend", "disable-apiserver-lb"} {
		if want := "Unknown flag --" + key + " found in config.yaml, skipping"; !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in %q", want, out.String())
		}
	}
}

func TestShortNames(t *testing.T) {
	file := write(t, "t: secret\ns: https://s:6443\nd: /data\n", nil)
	c, err := load(Agent, []string{"-c", file, "-i", "10.0.0.1", "--bind-address=10.0.0.1"}, noEnv)
	if err != nil || c.Token != "secret" || c.ServerURL != "https://s:6443" || c.DataDir != "/data" || c.NodeIP[0] != "10.0.0.1" {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestAnAgentWithItsCertificateNeedsNoToken(t *testing.T) {
	dir := t.TempDir()
	file := write(t, "server: https://s:6443\ndata-dir: "+dir+"\n", nil)
	if _, err := load(Agent, []string{"--config", file}, noEnv); err == nil || err.Error() != "--token is required" {
		t.Errorf("got %v", err)
	}
	ca, err := certs.EnsureCA(t.TempDir(), "ca", "ca", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := certs.EnsureLeaf(filepath.Join(dir, "agent"), "client-kubelet", ca, certs.Leaf{CommonName: "system:node:n"}, time.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err := load(Agent, []string{"--config", file}, noEnv); err != nil {
		t.Error(err)
	}
}

func TestArguments(t *testing.T) {
	for args, want := range map[string]string{
		"--no-such-flag=1":    "flag provided but not defined: -no-such-flag",
		"--node-ip":           "flag needs an argument: -node-ip",
		"stray":               `unexpected argument "stray"`,
		"--config=/no/where/": "no such file",
	} {
		if _, err := load(Server, []string{args}, noEnv); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", args, err, want)
		}
	}
}

func TestTokenFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	main := write(t, "server: https://s:6443\ntoken-file: "+file+"\n", nil)
	c, err := load(Agent, []string{"--config", main}, noEnv)
	if err != nil {
		t.Fatal(err)
	}
	if c.Token != "secret" {
		t.Errorf("token %q", c.Token)
	}
}

// keys.txt is k3s 1.36's: 125 keys of a server, 46 of an agent.
func TestKeysOfK3s(t *testing.T) {
	count := map[Role]int{}
	for name, d := range k3sKeys {
		if !slices.Contains([]string{"string", "list", "bool", "int", "duration"}, d.kind) ||
			!slices.Contains([]string{"both", "server", "agent"}, d.scope) {
			t.Errorf("%s: %+v", name, d)
		}
		for _, role := range []Role{Server, Agent} {
			if d.belongs(role) {
				count[role]++
			}
		}
	}
	if count[Server] != 125 || count[Agent] != 46 {
		t.Errorf("%v", count)
	}
	for _, name := range []string{"cluster-secret", "no-flannel", "no-deploy", "disable-selinux", "write-kubeconfig-name"} {
		if _, ok := k3sKeys[name]; ok {
			t.Errorf("1.36 does not know %s", name)
		}
	}
}

func TestEverySupportedKeyIsOneOfK3s(t *testing.T) {
	for _, k := range defaults(Server).keys() {
		if d, ok := k3sKeys[k.name]; !ok || d.kind != k.dest.kind() {
			t.Errorf("%s: %+v, here %s", k.name, d, k.dest.kind())
		}
	}
	for short, long := range aliases {
		if _, ok := k3sKeys[long]; !ok {
			t.Errorf("%s stands for %s, which k3s does not know", short, long)
		}
	}
}

func TestFlags(t *testing.T) {
	defaults := []string{"--a=1", "--plugins=NodeRestriction", "--force"}
	for _, c := range []struct {
		extra []string
		want  string
	}{
		{nil, "--a=1 --force=true --plugins=NodeRestriction"},
		{[]string{"a=2"}, "--a=2 --force=true --plugins=NodeRestriction"},
		{[]string{"--a=2", "force=false", "fail-cgroupv1"}, "--a=2 --fail-cgroupv1=true --force=false --plugins=NodeRestriction"},
		{[]string{"plugins+=X"}, "--a=1 --force=true --plugins=NodeRestriction --plugins=X"},
		{[]string{"plugins-=X"}, "--a=1 --force=true --plugins=X --plugins=NodeRestriction"},
		{[]string{"plugins+=X", "plugins+=Y"}, "--a=1 --force=true --plugins=NodeRestriction --plugins=X --plugins=Y"},
		{[]string{"plugins=X", "plugins+=Y"}, "--a=1 --force=true --plugins=X --plugins=Y"},
		{[]string{"eviction-hard+=memory.available<1Mi"}, "--a=1 --eviction-hard=memory.available<1Mi --force=true --plugins=NodeRestriction"},
		{[]string{"a=x=y,z"}, "--a=x=y,z --force=true --plugins=NodeRestriction"},
	} {
		if got := strings.Join(Flags(defaults, c.extra), " "); got != c.want {
			t.Errorf("%q:\n got %s\nwant %s", c.extra, got, c.want)
		}
	}
}
