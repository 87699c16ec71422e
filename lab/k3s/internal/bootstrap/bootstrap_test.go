package bootstrap

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func sample() Data {
	d := Data{}
	for _, name := range Files() {
		d[name] = "content of " + name
	}
	return d
}

func TestDataTravelsToAnotherServer(t *testing.T) {
	first, second := t.TempDir(), t.TempDir()
	if err := sample().Write(first); err != nil {
		t.Fatal(err)
	}
	d, err := Read(first)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := d.Seal("secret")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(sealed), "content of") {
		t.Error("the sealed data can be read")
	}
	opened, err := Open(sealed, "secret")
	if err != nil {
		t.Fatal(err)
	}
	if err := opened.Write(second); err != nil {
		t.Fatal(err)
	}
	for name, want := range sample() {
		file := filepath.Join(second, name)
		text, err := os.ReadFile(file)
		if err != nil || string(text) != want {
			t.Errorf("%s: %q, %v", name, text, err)
		}
		info, err := os.Stat(file)
		if err == nil && strings.HasSuffix(name, ".key") && info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
	}
}

func TestWrongTokenAndDamage(t *testing.T) {
	sealed, err := sample().Seal("secret")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(sealed, "other"); !errors.Is(err, ErrOtherToken) {
		t.Errorf("another token: %v", err)
	}
	sealed[len(sealed)-1] ^= 1
	if _, err := Open(sealed, "secret"); err == nil {
		t.Error("a changed byte is not noticed")
	}
	if _, err := Open(sealed[:20], "secret"); err == nil {
		t.Error("a cut is not noticed")
	}
	if Key("a") == Key("b") || !strings.HasPrefix(Key("a"), Prefix) {
		t.Error("keys of two tokens")
	}
}

func TestFilesOfAnotherClusterAreKept(t *testing.T) {
	dir := t.TempDir()
	mine := filepath.Join(dir, "server-ca.key")
	if err := os.WriteFile(mine, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := sample().Write(dir)
	if err == nil || !strings.Contains(err.Error(), mine+" newer than datastore") {
		t.Errorf("got %v", err)
	}
	if text, _ := os.ReadFile(mine); string(text) != "mine" {
		t.Error("the file was overwritten")
	}
	if _, err := os.Stat(filepath.Join(dir, "client-ca.key")); err == nil {
		t.Error("other files were written all the same")
	}
}

func TestOnlyKnownFilesAreWritten(t *testing.T) {
	d := sample()
	d["../../etc/passwd"] = "x"
	if err := d.Write(t.TempDir()); err == nil {
		t.Error("a foreign name is accepted")
	}
	d = sample()
	delete(d, "service.key")
	if err := d.Write(t.TempDir()); err == nil || !strings.Contains(err.Error(), "service.key") {
		t.Errorf("a lacking file: %v", err)
	}
}
