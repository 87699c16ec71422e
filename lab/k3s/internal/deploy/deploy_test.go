package deploy

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"b.yaml", "a.yml", "sub/c.json", ".hidden.yaml", ".git/d.yaml", "skipped.yaml", "skipped.yaml.skip", "notes.txt"} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := Files(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{filepath.Join(dir, "a.yml"), filepath.Join(dir, "b.yaml"), filepath.Join(dir, "sub/c.json")}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestDecode(t *testing.T) {
	objects, err := Decode([]byte(`# a comment alone
---
apiVersion: v1
kind: Namespace
metadata: {name: a}
---
{"apiVersion": "v1", "kind": "List", "items": [{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "b"}}]}
`))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, o := range objects {
		names = append(names, o.GetKind()+"/"+o.GetName())
	}
	if !reflect.DeepEqual(names, []string{"Namespace/a", "Secret/b"}) {
		t.Errorf("got %v", names)
	}
	if _, err := Decode([]byte("kind: Nameless\napiVersion: v1\n")); err == nil {
		t.Error("an object without a name is accepted")
	}
}

func TestPackaged(t *testing.T) {
	packaged, err := Packaged(Vars{ClusterDNS: "10.9.0.10", ClusterDomain: "example.local",
		CoreDNSImage: "reg/coredns:1", TraefikImage: "reg/traefik:1", MetricsServerImage: "reg/metrics-server:1"})
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]int{}
	for name, text := range packaged {
		if strings.Contains(text, "%{") {
			t.Errorf("%s: a variable is left in the manifest", name)
		}
		objects, err := Decode([]byte(text))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		found[Component(name)] += len(objects)
	}
	if want := map[string]int{"coredns": 6, "traefik": 6, "metrics-server": 9, "rolebindings": 2}; !reflect.DeepEqual(found, want) {
		t.Errorf("objects of each component: %v, want %v", found, want)
	}
	if packaged["metrics-server/metrics-apiservice.yaml"] == "" {
		t.Error("metrics-server is a folder of manifests, as in k3s")
	}
}

func TestWritePackaged(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "x.yaml")
	for _, text := range []string{"one", "two"} { // rewritten at each start
		if err := WritePackaged(dir, "x.yaml", text); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(file); err != nil || string(got) != text {
			t.Errorf("%q, %v", got, err)
		}
	}
}
