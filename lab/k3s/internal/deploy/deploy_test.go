package deploy

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
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

func TestChartWithAPodOnEachServer(t *testing.T) {
	packaged, err := Packaged(Vars{})
	if err != nil {
		t.Fatal(err)
	}
	objects, err := Decode([]byte(packaged["traefik.yaml"]))
	if err != nil {
		t.Fatal(err)
	}
	values, err := ParseChartValues("deployment: {kind: DaemonSet}\nservice: {spec: {externalTrafficPolicy: Local}}\n" +
		"nodeSelector: {node-role.kubernetes.io/control-plane: \"true\"}\n")
	if err != nil {
		t.Fatal(err)
	}
	for name, each := range map[string]struct {
		values                                     ChartValues
		kind, stale, replicas, daemons, server, of string
	}{
		"as packaged": {ChartValues{}, "Deployment", "DaemonSet", "1", "", "", "strategy"},
		"with values": {values, "DaemonSet", "Deployment", "", "Local", "true", "updateStrategy"},
	} {
		wanted, stale, err := Configure(objects, each.values)
		if err != nil || len(wanted) != len(objects) || len(stale) != 1 {
			t.Fatalf("%s: %d objects, %d stale, %v", name, len(wanted), len(stale), err)
		}
		if got := stale[0]; got.GetKind() != each.stale || got.GetName() != "traefik" {
			t.Errorf("%s: stale is %s %s", name, got.GetKind(), got.GetName())
		}
		for _, o := range wanted {
			switch o.GetKind() {
			case "Service":
				if policy, _, _ := unstructured.NestedString(o.Object, "spec", "externalTrafficPolicy"); policy != each.daemons {
					t.Errorf("%s: externalTrafficPolicy %q", name, policy)
				}
				if kind, _, _ := unstructured.NestedString(o.Object, "spec", "type"); kind != "LoadBalancer" {
					t.Errorf("%s: type %q", name, kind)
				}
			case "Deployment", "DaemonSet":
				if o.GetKind() != each.kind {
					t.Errorf("%s: %s", name, o.GetKind())
				}
				spec, _, _ := unstructured.NestedMap(o.Object, "spec")
				if _, found := spec["replicas"]; found != (each.replicas != "") {
					t.Errorf("%s: replicas: %v", name, spec["replicas"])
				}
				if spec[each.of] == nil {
					t.Errorf("%s: no %s", name, each.of)
				}
				selector, _, err := unstructured.NestedStringMap(spec, "template", "spec", "nodeSelector")
				if got := selector["node-role.kubernetes.io/control-plane"]; got != each.server || err != nil {
					t.Errorf("%s: nodes %v, %v", name, selector, err)
				}
			}
		}
	}
	for _, wrong := range []string{"ports: {web: {port: 8001}}", "deployment: {kind: Pod}", "deployment: [1]", "nodeSelector: [1]"} {
		if _, err := ParseChartValues(wrong); err == nil {
			t.Errorf("%s: is accepted", wrong)
		}
	}
}
