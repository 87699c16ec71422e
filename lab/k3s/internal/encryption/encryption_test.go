package encryption

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"edge-ai/lab/k3s/internal/bootstrap"
	"edge-ai/lab/k3s/internal/config"
)

func TestKeyIsMadeOnce(t *testing.T) {
	for provider, kind := range map[string]string{"aescbc": "AES-CBC aescbckey", "secretbox": "XSalsa20-POLY1305 secretboxkey"} {
		dir := t.TempDir()
		if err := Ensure(dir, provider); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(ConfigFile(dir))
		if err != nil || !strings.Contains(string(text), `"`+provider+`":{"keys":[{"name":"`+provider+`key"`) {
			t.Errorf("%s: %s, %v", provider, text, err)
		}
		if err := Ensure(dir, config.EncryptionProviders[0]); err != nil {
			t.Fatal(err)
		}
		if again, _ := os.ReadFile(ConfigFile(dir)); string(again) != string(text) {
			t.Errorf("%s: the key changed", provider)
		}
		info, err := os.Stat(ConfigFile(dir))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", info, err)
		}
		state, err := State(dir)
		if err != nil || state != "start-"+hash(text) {
			t.Errorf("state %q, %v", state, err)
		}
		status, err := Look(dir, map[string]string{"one": state, "two": state})
		if err != nil || status.Enable == nil || !*status.Enable || !status.HashMatch || status.Stage != "start" || status.ActiveKey != kind {
			t.Errorf("%+v, %v", status, err)
		}
	}
	if err := Ensure(t.TempDir(), "rot13"); err == nil {
		t.Error("an unknown provider is accepted")
	}
}

func TestOtherServersMustHaveTheSameKey(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	for _, d := range []string{dir, other} {
		if err := Ensure(d, "aescbc"); err != nil {
			t.Fatal(err)
		}
	}
	mine, _ := State(dir)
	its, _ := State(other)
	for annotation, want := range map[string]string{its: "hash does not match between two", "": "missing annotation on node two"} {
		status, err := Look(dir, map[string]string{"one": mine, "two": annotation})
		if err != nil || status.HashMatch || !strings.HasPrefix(status.HashError, want) {
			t.Errorf("%+v, %v", status, err)
		}
	}
}

func TestWithoutAndBroken(t *testing.T) {
	dir := t.TempDir()
	if status, err := Look(dir, nil); err != nil || status.Enable != nil {
		t.Errorf("%+v, %v", status, err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "cred"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"{", "{}"} {
		if err := os.WriteFile(filepath.Join(dir, bootstrap.EncryptionConfigFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Look(dir, nil); err == nil {
			t.Errorf("%s: no error", text)
		}
	}
}
