package token

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
	"testing"
)

func caPEM(t *testing.T) (pemText, der []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true}
	der, err = x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), der
}

var hash = strings.Repeat("ab", 32)

func TestParse(t *testing.T) {
	for text, want := range map[string]Token{
		"K10" + hash + "::server:pass":                   {Hash: hash, User: "server", Password: "pass"},
		"K10" + hash + "::node:pa:ss\n":                  {Hash: hash, User: "node", Password: "pa:ss"},
		"simple":                                         {Password: "simple"},
		"K10 but no token":                               {Password: "K10 but no token"},
		"abcdef.0123456789abcdef":                        {ID: "abcdef", Secret: "0123456789abcdef"},
		"K10" + hash + "::abcdef.0123456789abcdef":       {Hash: hash, ID: "abcdef", Secret: "0123456789abcdef"},
		"abcdef.0123456789ABCDEF (upper case: password)": {Password: "abcdef.0123456789ABCDEF (upper case: password)"},
	} {
		if got, err := Parse(text); err != nil || got != want {
			t.Errorf("%q: got %+v, %v", text, got, err)
		}
	}
}

func TestParseErrors(t *testing.T) {
	for text, want := range map[string]error{
		"":                                      ErrEmpty,
		" \n":                                   ErrEmpty,
		"K10abc::server:pass":                   ErrLength,
		"K10" + hash + "::":                     ErrFormat,
		"K10" + hash + "::server":               ErrFormat,
		"K10" + hash + "::server:":              ErrFormat,
		"K10" + hash + "::" + ":password":       ErrFormat,
		"K10" + strings.Repeat("zz", 32) + "::": ErrFormat,
	} {
		if _, err := Parse(text); !errors.Is(err, want) {
			t.Errorf("%q: got %v, want %v", text, err, want)
		}
	}
}

func TestHash(t *testing.T) {
	one, _ := caPEM(t)
	two, der := caPEM(t)
	sum := sha256.Sum256(one)
	if got, err := Hash(one); err != nil || got != hex.EncodeToString(sum[:]) {
		t.Errorf("single certificate: got %s, %v; want the hash of the file", got, err)
	}
	sum = sha256.Sum256(der)
	if got, err := Hash(append(one, two...)); err != nil || got != hex.EncodeToString(sum[:]) {
		t.Errorf("bundle: got %s, %v; want the hash of the root's DER", got, err)
	}
	if _, err := Hash([]byte("nothing")); err == nil {
		t.Error("no certificate: no error")
	}
}

func TestCheckCA(t *testing.T) {
	ca, _ := caPEM(t)
	full, err := Format(ca, "server", "pass")
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := Parse(full)
	if err != nil {
		t.Fatal(err)
	}
	if err := parsed.CheckCA(ca); err != nil {
		t.Error(err)
	}
	other, _ := caPEM(t)
	err = parsed.CheckCA(other)
	if err == nil || !strings.HasPrefix(err.Error(), "token CA hash does not match the Cluster CA certificate hash: "+parsed.Hash+" != ") {
		t.Errorf("got %v", err)
	}
	if err := (Token{Password: "short"}).CheckCA(other); err != nil {
		t.Errorf("short form: %v", err)
	}
}

func TestServerPassword(t *testing.T) {
	ca, _ := caPEM(t)
	full, _ := Format(ca, "server", "pass")
	node, _ := Format(ca, "node", "pass")
	for text, want := range map[string]string{"pass": "pass", full: "pass", "abcdef.0123456789abcdef": "abcdef.0123456789abcdef"} {
		if got, err := ServerPassword(text, ca); err != nil || got != want {
			t.Errorf("%q: got %q, %v", text, got, err)
		}
	}
	if _, err := ServerPassword(node, ca); !errors.Is(err, ErrForm) {
		t.Errorf("a node's token: got %v", err)
	}
	other, _ := caPEM(t)
	if _, err := ServerPassword(full, other); err == nil {
		t.Error("another cluster's token: no error")
	}
}

func TestNormalizeAndAgentPassword(t *testing.T) {
	ca, _ := caPEM(t)
	full, _ := Format(ca, "node", "pass")
	if got, err := AgentPassword(full, ca); err != nil || got != "pass" {
		t.Errorf("got %q, %v", got, err)
	}
	other, _ := caPEM(t)
	if _, err := AgentPassword(full, other); err == nil {
		t.Error("an agent token of another cluster: no error")
	}
	if _, err := Normalize("K10" + hash + "::abcdef.0123456789abcdef"); !errors.Is(err, ErrForm) {
		t.Errorf("a full bootstrap token: %v", err)
	}
	for text, want := range map[string]bool{"abcdef.0123456789abcdef": true, "abcdef.0123456789abcde": false, "secret": false} {
		if LooksLikeBootstrap(text) != want {
			t.Errorf("%s: want %v", text, want)
		}
	}
}

func TestRandom(t *testing.T) {
	if a, b := Random(16), Random(16); len(a) != 32 || a == b {
		t.Errorf("%s, %s", a, b)
	}
}
