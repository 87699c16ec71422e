package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"

	"edge-ai/lab/k3s/internal/files"
)

// registries is the supported part of registries.yaml: mirrors with endpoints and rewrites are k3s's own extension
// of containerd, so only endpoints and TLS settings are here. Other fields are errors.
type registries struct {
	Mirrors map[string]struct {
		Endpoint []string `yaml:"endpoint"`
	} `yaml:"mirrors"`
	Configs map[string]struct {
		TLS struct {
			CAFile             string `yaml:"ca_file"`
			CertFile           string `yaml:"cert_file"`
			KeyFile            string `yaml:"key_file"`
			InsecureSkipVerify bool   `yaml:"insecure_skip_verify"`
		} `yaml:"tls"`
	} `yaml:"configs"`
}

// writeRegistries renders registries.yaml as containerd's certs.d. Without the file there are no mirrors.
func writeRegistries(file, dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var r registries
	decoder := yaml.NewDecoder(strings.NewReader(string(data)))
	decoder.KnownFields(true)
	if err := decoder.Decode(&r); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	hosts := map[string]bool{}
	for name := range r.Mirrors {
		hosts[name] = true
	}
	for name := range r.Configs {
		hosts[name] = true
	}
	for name := range hosts {
		target := name
		if name == "*" {
			target = "_default"
		}
		text, err := r.hostsFile(name)
		if err != nil {
			return fmt.Errorf("%s: %s: %w", file, name, err)
		}
		if err := files.Write(filepath.Join(dir, target, "hosts.toml"), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (r *registries) hostsFile(name string) (string, error) {
	var b strings.Builder
	if name != "*" {
		server := name
		if name == "docker.io" {
			server = "registry-1.docker.io"
		}
		fmt.Fprintf(&b, "server = %q\n", "https://"+server)
	}
	endpoints := append([]string{}, r.Mirrors[name].Endpoint...)
	if len(endpoints) == 0 && name != "*" {
		endpoints = []string{"https://" + name}
	}
	for _, e := range endpoints {
		if !strings.Contains(e, "://") {
			e = "https://" + e
		}
		u, err := url.Parse(e)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "\n[host.%q]\n  capabilities = [\"pull\", \"resolve\"]\n", e)
		if u.Path != "" && u.Path != "/" {
			fmt.Fprint(&b, "  override_path = true\n")
		}
		tls := r.Configs[u.Host].TLS
		if tls.CAFile != "" {
			fmt.Fprintf(&b, "  ca = %q\n", tls.CAFile)
		}
		if tls.CertFile != "" {
			fmt.Fprintf(&b, "  client = [[%q, %q]]\n", tls.CertFile, tls.KeyFile)
		}
		if tls.InsecureSkipVerify {
			fmt.Fprint(&b, "  skip_verify = true\n")
		}
	}
	return b.String(), nil
}
