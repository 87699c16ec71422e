package cli

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"edge-ai/lab/k3s/internal/certcheck"
	"edge-ai/lab/k3s/internal/encryption"
)

func TestFormsOfCertificates(t *testing.T) {
	list := []certcheck.Certificate{{Filename: "client-admin.crt", Subject: "system:admin", Issuer: "ca", Usages: []string{"ClientAuth"},
		ExpiryTime: time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC), ResidualTime: 49 * time.Hour, Status: certcheck.Warning}}
	for format, want := range map[string]string{
		"text": "", // lines of the log
		"json": `{"Certificates":[{"Filename":"client-admin.crt","Subject":"system:admin","Issuer":"ca","Usages":["ClientAuth"],` +
			`"ExpiryTime":"2027-01-02T03:04:05Z","ResidualTime":176400000000000,"Status":"WARNING"}]}` + "\n",
		"yaml":  "    - filename: client-admin.crt\n",
		"table": "client-admin.crt   system:admin   ClientAuth   Jan 02, 2027 03:04 UTC   2 days          WARNING\n",
	} {
		var out strings.Builder
		if err := printCertificates(&out, format, list); err != nil || !strings.Contains(out.String(), want) {
			t.Errorf("%s: %q, %v", format, out.String(), err)
		}
	}
	if err := printCertificates(nil, "xml", list); err == nil || err.Error() != "invalid output format xml" {
		t.Errorf("got %v", err)
	}
	var out strings.Builder
	if err := printCertificates(&out, "json", nil); err != nil || out.String() != `{"Certificates":[]}`+"\n" {
		t.Errorf("none: %q, %v", out.String(), err)
	}
}

func TestReportOfEncryption(t *testing.T) {
	for text, want := range map[string]string{
		`{"stage": ""}`: "Encryption Status: Disabled, no configuration file found\n",
		`{"stage": "start", "activekey": "AES-CBC aescbckey", "enable": true, "hashmatch": true}`: "Encryption Status: Enabled\nCurrent Rotation Stage: start\nServer Encryption Hashes: All hashes match\n",
		`{"stage": "start", "enable": true, "hasherror": "missing annotation on node s2"}`:        "Server Encryption Hashes: missing annotation on node s2\n",
		`{"stage": "start", "activekey": "AES-CBC aescbckey", "enable": true}`:                    " *      AES-CBC   aescbckey\n",
		`{"stage": "start", "inactivekeys": ["AES-CBC aescbckey"], "enable": false}`:              "Encryption Status: Disabled\n",
	} {
		var status encryption.Status
		if err := json.Unmarshal([]byte(text), &status); err != nil {
			t.Fatal(err)
		}
		if got := encryptionText(status); !strings.Contains(got, want) {
			t.Errorf("%s: %q", text, got)
		}
	}
}

func TestUnknownCommands(t *testing.T) {
	for _, c := range []struct {
		run  func([]string) error
		args string
		want string
	}{
		{Certificate, "check --service traefik", "service traefik is not recognized"},
		{Certificate, "renew --service etcd", `unknown command "renew"`},
		{Certificate, "check now", `unexpected argument "now"`},
		{SecretsEncrypt, "rotate-keys", "this lab build has no secrets-encrypt rotate-keys"},
		{Token, "rotate --data-dir /no/where --token= --new-token x", "no such file"},
	} {
		if err := c.run(strings.Fields(c.args)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.args, err, c.want)
		}
	}
}
