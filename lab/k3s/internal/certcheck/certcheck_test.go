package certcheck

import (
	"context"
	"crypto/x509"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"edge-ai/lab/k3s/internal/certs"
)

var made = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// machine has the certificates of two services, made at that time.
func machine(t *testing.T, server bool) string {
	t.Helper()
	dir := t.TempDir()
	tlsDir := filepath.Join(t.TempDir(), "tls")
	if server {
		tlsDir = filepath.Join(dir, "server", "tls")
	}
	ca, err := certs.EnsureCA(tlsDir, "client-ca", "k3s-client-ca", made)
	if err != nil {
		t.Fatal(err)
	}
	leaf := certs.Leaf{CommonName: "system:admin", Usage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	if server {
		if _, err := certs.EnsureLeaf(tlsDir, "client-admin", ca, leaf, made); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := certs.EnsureLeaf(filepath.Join(dir, "agent"), "client-kubelet", ca, leaf, made); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestStatus(t *testing.T) {
	dir := machine(t, true)
	for _, c := range []struct {
		days             int
		leaf, ca, phrase string
	}{
		{-1, NotYetValid, NotYetValid, "is not valid before 2026-01-01T00:00:00Z"},
		{0, OK, OK, "is ok, expires at 2027-01-01T00:00:00Z"},
		{244, OK, OK, "is ok"},
		{246, Warning, OK, "will expire within 120 days at 2027-01-01T00:00:00Z"},
		{366, Expired, OK, "expired at 2027-01-01T00:00:00Z"},
	} {
		got := Look(dir, []string{"admin", "k3s-controller"}, made.AddDate(0, 0, c.days))
		if len(got) != 2 || got[0].Status != c.leaf || got[1].Status != c.ca {
			t.Fatalf("day %d: %+v", c.days, got)
		}
		if want := "client-admin.crt: certificate system:admin (ClientAuth) " + c.phrase; !strings.HasPrefix(got[0].String(), want) {
			t.Errorf("day %d: %q, want %q", c.days, got[0], want)
		}
		if got[1].Usages[0] != "CertSign" || got[0].Issuer != got[1].Subject {
			t.Errorf("the CA: %+v", got[1])
		}
	}
}

func TestServices(t *testing.T) {
	for _, c := range []struct {
		server bool
		chosen []string
		want   int
		err    string
	}{
		{true, nil, len(ServerServices) + len(AgentServices), ""},
		{false, nil, len(AgentServices), ""},
		{false, []string{"etcd"}, 1, ""},
		{false, []string{"etcd", "traefik"}, 0, "service traefik is not recognized"},
	} {
		got, err := Services(machine(t, c.server), c.chosen)
		if len(got) != c.want || (err == nil) != (c.err == "") || (err != nil && err.Error() != c.err) {
			t.Errorf("%+v: %v, %v", c, got, err)
		}
	}
	for name := range pairs {
		if !slices.Contains(slices.Concat(ServerServices, AgentServices), name) {
			t.Errorf("%s is not a service of k3s", name)
		}
	}
}

func TestRotate(t *testing.T) {
	for _, server := range []bool{true, false} {
		dir := machine(t, server)
		services, err := Services(dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		backup, err := Rotate(dir, services, made)
		if err != nil {
			t.Fatal(err)
		}
		where, files := "agent", []string{"client-kubelet.crt", "client-kubelet.key"}
		if server {
			where, files = "server", append(files, "client-admin.crt", "client-admin.key", "client-ca.key")
		}
		if want := filepath.Join(dir, where, "tls-1767225600"); backup != want {
			t.Errorf("backup in %s, want %s", backup, want)
		}
		for _, f := range files {
			if _, err := os.Stat(filepath.Join(backup, f)); err != nil {
				t.Error(err)
			}
		}
		if left := Look(dir, services, made); left != nil {
			t.Errorf("left: %v", left)
		}
		if _, err := os.Stat(filepath.Join(dir, "agent", "client-kubelet.key")); err == nil {
			t.Error("a key is left")
		}
		if _, err := os.Stat(filepath.Join(dir, "server", "tls", "client-ca.key")); server && err != nil {
			t.Errorf("the CA must stay: %v", err)
		}
	}
}

func TestEvent(t *testing.T) {
	dir := machine(t, false)
	client := fake.NewClientset()
	for _, day := range []int{1, 250} {
		if err := warn(context.Background(), client, dir, "pi-05", made.AddDate(0, 0, day)); err != nil {
			t.Fatal(err)
		}
	}
	events, err := client.CoreV1().Events("").List(context.Background(), metav1.ListOptions{})
	if err != nil || len(events.Items) != 1 {
		t.Fatalf("%v, %v", events, err)
	}
	e := events.Items[0]
	if e.Reason != Reason || e.Type != "Warning" || e.InvolvedObject.Name != "pi-05" || !strings.Contains(e.Message, "client-kubelet.crt") {
		t.Errorf("%+v", e)
	}
	if got := shorten(strings.Repeat("x", 2000)); len(got) != 903 {
		t.Errorf("%d characters", len(got))
	}
}
