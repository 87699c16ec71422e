package files

import (
	"os"
	"path/filepath"
	"testing"
)

func TestWrite(t *testing.T) {
	file := filepath.Join(t.TempDir(), "made", "x.yaml")
	for _, text := range []string{"longer", "new"} {
		if err := Write(file, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(file); err != nil || string(got) != text {
			t.Errorf("%q, %v", got, err)
		}
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if entries, err := os.ReadDir(filepath.Dir(file)); err != nil || len(entries) != 1 {
		t.Errorf("left: %v, %v", entries, err)
	}
}

func TestLink(t *testing.T) {
	name := filepath.Join(t.TempDir(), "node-token")
	if err := os.WriteFile(name, nil, 0o600); err != nil { // a file may be in its place
		t.Fatal(err)
	}
	for _, target := range []string{"token", "token", "other"} {
		if err := Link(target, name); err != nil {
			t.Fatal(err)
		}
		if got, err := os.Readlink(name); err != nil || got != target {
			t.Errorf("%q, %v", got, err)
		}
	}
}
