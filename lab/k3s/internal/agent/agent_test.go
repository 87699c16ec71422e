package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCheckControllers(t *testing.T) {
	for have, want := range map[string]string{
		"cpu io memory pids":        "", // no cpuset: User-mode Linux
		"cpuset cpu io memory pids": "",
		"cpu io pids":               "failed to find memory cgroup (v2)",
		"memory pids":               "failed to find cpu cgroup (v2)",
		"cpu memory":                "pids cgroup controller not found",
	} {
		got := ""
		if err := checkControllers(strings.Fields(have)); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", have, got, want)
		}
	}
}

func TestUsableNameserver(t *testing.T) {
	for text, want := range map[string]bool{
		"nameserver 10.77.0.1\n":                          true,
		"search x\nnameserver 192.168.1.1\n":              true,
		"nameserver 127.0.0.53\n":                         false,
		"nameserver 10.77.0.1\nnameserver 127.0.0.1\n":    false,
		"nameserver 224.0.0.1\n":                          false,
		"# nothing\n":                                     false,
		"nameserver fe80::1%eth0\nnameserver 10.77.0.1\n": false,
	} {
		if got := usableNameserver(text); got != want {
			t.Errorf("%q: got %v", text, got)
		}
	}
}

func TestKernelDiffers(t *testing.T) {
	line := `E1125 17:00:00.000000 1 kubelet.go:1711] "Failed to start ContainerManager" err="[invalid kernel flag: vm/overcommit_memory, expected value: 1, actual value: 0]"`
	if err := kernelDiffers("  something else\n  " + line + "\n"); err == nil || !strings.HasPrefix(err.Error(), "kubelet exited: E1125") {
		t.Errorf("got %v", err)
	}
	if err := kernelDiffers("  killed\n"); err != nil {
		t.Errorf("got %v", err)
	}
}

func TestRegistries(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "registries.yaml")
	out := filepath.Join(dir, "certs.d")
	write := func(text string) error {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return writeRegistries(file, out)
	}
	if err := write(`
mirrors:
  docker.io: {endpoint: ["http://10.77.0.1:5000"]}
  "*": {endpoint: ["https://cache.example/v2/all"]}
configs:
  cache.example: {tls: {insecure_skip_verify: true}}
`); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"docker.io/hosts.toml":     "server = \"https://registry-1.docker.io\"\n\n[host.\"http://10.77.0.1:5000\"]\n",
		"_default/hosts.toml":      "  override_path = true\n  skip_verify = true\n",
		"cache.example/hosts.toml": "skip_verify = true",
	} {
		if text, err := os.ReadFile(filepath.Join(out, name)); err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
	if err := write("mirrors: {docker.io: {rewrite: {a: b}}}\n"); err == nil || !strings.Contains(err.Error(), "rewrite") {
		t.Errorf("an unsupported field: got %v", err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := writeRegistries(file, out); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("mirrors of a removed file stay")
	}
}
