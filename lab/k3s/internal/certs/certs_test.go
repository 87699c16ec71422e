package certs

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/util/cert"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func ca(t *testing.T, dir string) *CA {
	t.Helper()
	c, err := EnsureCA(dir, "ca", "test-ca", now)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func load(t *testing.T, file string) *x509.Certificate {
	t.Helper()
	list, err := cert.CertsFromFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return list[0]
}

var serving = Leaf{CommonName: "api", DNSNames: []string{"localhost"}, IPs: []net.IP{net.IPv4(127, 0, 0, 1)},
	Usage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}

func TestChainAndNames(t *testing.T) {
	dir := t.TempDir()
	c := ca(t, dir)
	if _, err := EnsureLeaf(dir, "leaf", c, serving, now); err != nil {
		t.Fatal(err)
	}
	cert := load(t, filepath.Join(dir, "leaf.crt"))
	pool := x509.NewCertPool()
	pool.AddCert(c.Cert)
	for _, name := range []string{"localhost", "127.0.0.1"} {
		if _, err := cert.Verify(x509.VerifyOptions{Roots: pool, DNSName: name, CurrentTime: now}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: pool, DNSName: "elsewhere", CurrentTime: now}); err == nil {
		t.Error("a name it was not made for is accepted")
	}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: pool, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err == nil {
		t.Error("a server's certificate is accepted as a client's")
	}
	info, err := os.Stat(filepath.Join(dir, "leaf.key"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key: %v, %v", info.Mode(), err)
	}
}

func TestRenewal(t *testing.T) {
	more := serving
	more.IPs = append([]net.IP{net.IPv4(10, 0, 0, 1)}, serving.IPs...)
	for _, c := range []struct {
		name    string
		leaf    Leaf
		at      time.Time
		renewed bool
	}{
		{"next day", serving, now.Add(24 * time.Hour), false},
		{"121 days left", serving, now.Add(LeafLife - RenewBefore - 24*time.Hour), false},
		{"119 days left", serving, now.Add(LeafLife - RenewBefore + 24*time.Hour), true},
		{"a new address", more, now.Add(time.Hour), true},
		{"clock far behind", serving, now.Add(-48 * time.Hour), true},
	} {
		dir := t.TempDir()
		authority := ca(t, dir)
		if _, err := EnsureLeaf(dir, "leaf", authority, serving, now); err != nil {
			t.Fatal(err)
		}
		before, err := os.ReadFile(filepath.Join(dir, "leaf.key"))
		if err != nil {
			t.Fatal(err)
		}
		renewed, err := EnsureLeaf(dir, "leaf", authority, c.leaf, c.at)
		if err != nil || renewed != c.renewed {
			t.Errorf("%s: renewed %v, %v", c.name, renewed, err)
		}
		after, err := os.ReadFile(filepath.Join(dir, "leaf.key"))
		if err != nil || string(before) != string(after) {
			t.Errorf("%s: the key changed", c.name)
		}
	}
}

func TestLeafOfAnotherCAIsReplaced(t *testing.T) {
	dir := t.TempDir()
	if _, err := EnsureLeaf(dir, "leaf", ca(t, t.TempDir()), serving, now); err != nil {
		t.Fatal(err)
	}
	own := ca(t, dir)
	if renewed, err := EnsureLeaf(dir, "leaf", own, serving, now); err != nil || !renewed {
		t.Fatalf("renewed %v, %v", renewed, err)
	}
	if err := load(t, filepath.Join(dir, "leaf.crt")).CheckSignatureFrom(own.Cert); err != nil {
		t.Error(err)
	}
}

func TestCAIsKept(t *testing.T) {
	dir := t.TempDir()
	one := ca(t, dir)
	two, err := EnsureCA(dir, "ca", "test-ca", now.Add(CALife/2))
	if err != nil || string(one.PEM) != string(two.PEM) {
		t.Errorf("the CA changed: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, "ca.key")); err != nil {
		t.Fatal(err)
	}
	if _, err := EnsureCA(dir, "ca", "test-ca", now); err == nil {
		t.Error("a CA without its key is silently replaced")
	}
}

func TestForeignKeyIsRefused(t *testing.T) {
	dir := t.TempDir()
	ca(t, dir)
	if err := os.Remove(filepath.Join(dir, "ca.key")); err != nil {
		t.Fatal(err)
	}
	if _, err := EnsureKey(filepath.Join(dir, "ca.key")); err != nil {
		t.Fatal(err)
	}
	if _, err := EnsureCA(dir, "ca", "test-ca", now); err == nil || !strings.Contains(err.Error(), "is not the key of") {
		t.Errorf("got %v", err)
	}
}

func TestRequest(t *testing.T) {
	dir := t.TempDir()
	c := ca(t, dir)
	key, err := EnsureKey(filepath.Join(dir, "node.key"))
	if err != nil {
		t.Fatal(err)
	}
	request, err := cert.MakeCSR(key, &pkix.Name{CommonName: "system:masters-please"}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	pemText, err := c.SignRequest(request, Leaf{CommonName: "system:node:n", Organization: []string{"system:nodes"},
		Usage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, now)
	if err != nil {
		t.Fatal(err)
	}
	list, err := cert.ParseCertsPEM(pemText)
	if err != nil {
		t.Fatal(err)
	}
	if list[0].Subject.CommonName != "system:node:n" || !samePublicKey(list[0].PublicKey, key.Public()) {
		t.Errorf("got %v: names must be the signer's, the key the requester's", list[0].Subject)
	}
	if _, err := c.SignRequest([]byte("nonsense"), Leaf{}, now); err == nil {
		t.Error("nonsense is signed")
	}
}

func TestLeafDoesNotOutliveCA(t *testing.T) {
	dir := t.TempDir()
	c := ca(t, dir)
	late := c.Cert.NotAfter.Add(-24 * time.Hour)
	if _, err := EnsureLeaf(dir, "leaf", c, serving, late); err != nil {
		t.Fatal(err)
	}
	if got := load(t, filepath.Join(dir, "leaf.crt")).NotAfter; got.After(c.Cert.NotAfter) {
		t.Errorf("leaf ends %s, its CA %s", got, c.Cert.NotAfter)
	}
}
