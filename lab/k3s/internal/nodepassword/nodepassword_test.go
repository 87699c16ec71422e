package nodepassword

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

func TestEnsure(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "node")
	one, err := Ensure(dir)
	if err != nil || !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(one) {
		t.Fatalf("%q, %v", one, err)
	}
	if two, err := Ensure(dir); err != nil || two != one {
		t.Errorf("the password changed: %q, %v", two, err)
	}
	info, err := os.Stat(filepath.Join(dir, "password"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if id, err := EnsureID(dir); err != nil || len(id) != 8 {
		t.Errorf("id %q, %v", id, err)
	}
}

func TestSeededPasswordIsKept(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "password"), []byte("seeded\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := Ensure(dir); err != nil || got != "seeded" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestHash(t *testing.T) {
	hash, err := Hash("right")
	if err != nil {
		t.Fatal(err)
	}
	if err := Verify(hash, "right"); err != nil {
		t.Error(err)
	}
	if Verify(hash, "wrong") == nil {
		t.Error("a wrong password is accepted")
	}
	for _, broken := range []string{"", "$2:a:b:c:d:e", "$1:00:99:8:1:AA", "$1:zz:15:8:1:AA"} {
		if Verify(broken, "right") == nil {
			t.Errorf("%q is accepted", broken)
		}
	}
	if again, err := Hash("right"); err != nil || again == hash {
		t.Error("the salt is always the same")
	}
}
