package bootstrap

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/k3s-io/kine/pkg/client"
)

var then = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func sample() Data {
	d := Data{}
	for _, name := range Files() {
		d[name] = File{then, []byte("content of " + name)}
	}
	return d
}

// server has the sample's files on its disk.
func server(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := sample().Write(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

// change gives a file another content and a time that many seconds after the sample's.
func change(t *testing.T, dir, name string, seconds int) {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, []byte("changed"), 0o600); err != nil {
		t.Fatal(err)
	}
	at := then.Add(time.Duration(seconds) * time.Second)
	if err := os.Chtimes(file, at, at); err != nil {
		t.Fatal(err)
	}
}

func content(t *testing.T, dir, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestDataTravelsToAnotherServer(t *testing.T) {
	first, second := server(t), t.TempDir()
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
	if err := opened.Reconcile(second, false, then); err != nil {
		t.Fatal(err)
	}
	for name, want := range sample() {
		info, err := os.Stat(filepath.Join(second, name))
		if err != nil {
			t.Fatal(err)
		}
		if got := content(t, second, name); got != string(want.Content) || !info.ModTime().Equal(then) {
			t.Errorf("%s: %q of %v", name, got, info.ModTime())
		}
		if mode := info.Mode().Perm(); mode != 0o600 && !strings.HasSuffix(name, ".crt") {
			t.Errorf("%s has mode %v", name, mode)
		}
	}
}

func TestReconcile(t *testing.T) {
	const ca = "tls/server-ca.key"
	for _, c := range []struct {
		name    string
		change  func(dir string)
		reset   bool
		newer   []string // what the error names
		written bool     // the datastore's content is on disk afterwards
	}{
		{"equal", func(string) {}, false, nil, true},
		{"older on disk", func(dir string) { change(t, dir, PasswdFile, -60) }, false, nil, true},
		{"two seconds newer", func(dir string) { change(t, dir, PasswdFile, 2) }, false, nil, true},
		{"three seconds newer", func(dir string) { change(t, dir, PasswdFile, 3) }, false, []string{PasswdFile}, false},
		{"two files newer", func(dir string) { change(t, dir, PasswdFile, 9); change(t, dir, ca, 9) }, false, []string{PasswdFile, ca}, false},
		{"newer, reset", func(dir string) { change(t, dir, PasswdFile, 9); change(t, dir, ca, 9) }, true, nil, true},
		{"absent", func(dir string) { os.Remove(filepath.Join(dir, PasswdFile)) }, false, nil, true},
		{"absent, another newer", func(dir string) { os.Remove(filepath.Join(dir, ca)); change(t, dir, PasswdFile, 9) }, false, []string{PasswdFile}, false},
		{"no tls at all", func(dir string) { os.RemoveAll(filepath.Join(dir, "tls")); change(t, dir, PasswdFile, 9) }, false, nil, true},
	} {
		dir := server(t)
		c.change(dir)
		err := sample().Reconcile(dir, c.reset, then)
		if (err == nil) != (c.newer == nil) {
			t.Errorf("%s: %v", c.name, err)
		}
		for _, name := range c.newer {
			if err == nil || !strings.Contains(err.Error(), filepath.Join(dir, name)) || !strings.Contains(err.Error(), " newer than datastore and could cause a cluster outage") {
				t.Errorf("%s: %v", c.name, err)
			}
		}
		if got := content(t, dir, PasswdFile) == "content of "+PasswdFile; got != c.written {
			t.Errorf("%s: written %v", c.name, got)
		}
		backup := content(t, server(t), ca)
		if text, err := os.ReadFile(filepath.Join(dir, "tls-1795348800", "server-ca.key")); c.reset != (err == nil) || (c.reset && string(text) == backup) {
			t.Errorf("%s: backup %q, %v", c.name, text, err)
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

func TestOnlyKnownFilesAreWritten(t *testing.T) {
	dir := t.TempDir()
	inner := filepath.Join(dir, "server")
	d := sample()
	d["../escaped"] = File{then, []byte("x")}
	if err := d.Reconcile(inner, false, then); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "escaped")); err == nil {
		t.Error("a foreign name is written")
	}
	d = sample()
	delete(d, "tls/service.key")
	if err := d.Reconcile(t.TempDir(), false, then); err == nil || !strings.Contains(err.Error(), "service.key") {
		t.Errorf("a lacking file: %v", err)
	}
	d = sample()
	for _, name := range []string{"tls/etcd/server-ca.crt", EncryptionConfigFile} { // SQLite, no encryption
		delete(d, name)
	}
	if err := d.check(); err != nil {
		t.Error(err)
	}
}

func TestTheFormOfTheFirstBuilds(t *testing.T) {
	d, err := decode([]byte(`{"server-ca.crt": "text"}`))
	if err != nil || string(d["tls/server-ca.crt"].Content) != "text" {
		t.Errorf("%v, %v", d, err)
	}
}

// memory is a datastore.
type memory struct {
	values   map[string]client.Value
	revision int64
}

func (m *memory) List(_ context.Context, prefix string, _ int) (list []client.Value, err error) {
	for key, v := range m.values {
		if strings.HasPrefix(key, prefix) {
			list = append(list, v)
		}
	}
	return list, nil
}

func (m *memory) put(key string, value []byte) error {
	m.revision++
	m.values[key] = client.Value{Key: []byte(key), Data: slices.Clone(value), Modified: m.revision}
	return nil
}

func (m *memory) Create(_ context.Context, key string, value []byte) error {
	if _, found := m.values[key]; found {
		return errors.New("key exists")
	}
	return m.put(key, value)
}

func (m *memory) Update(_ context.Context, key string, revision int64, value []byte) error {
	if m.values[key].Modified != revision {
		return errors.New("another revision")
	}
	return m.put(key, value)
}

func (m *memory) Delete(_ context.Context, key string, revision int64) error {
	if m.values[key].Modified != revision {
		return errors.New("another revision")
	}
	delete(m.values, key)
	return nil
}

func (m *memory) Close() error { return nil }

func TestDatastore(t *testing.T) {
	ctx := context.Background()
	m := &memory{values: map[string]client.Value{}}
	dir := server(t)
	passwd := func(password string) string {
		t.Helper()
		d, err := Load(ctx, m, password)
		if err != nil {
			t.Fatal(err)
		}
		return string(d[PasswdFile].Content)
	}
	if d, err := Load(ctx, m, "one"); d != nil || err != nil {
		t.Errorf("an empty datastore: %v, %v", d, err)
	}
	if err := Save(ctx, m, dir, "one", false); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"load": func() error { _, err := Load(ctx, m, "two"); return err }(),
		"save": Save(ctx, m, dir, "two", true),
	} {
		if !errors.Is(err, ErrOtherToken) {
			t.Errorf("%s with another token: %v", name, err)
		}
	}
	change(t, dir, PasswdFile, 5)
	if err := Save(ctx, m, dir, "one", false); err != nil {
		t.Fatal(err)
	}
	if got := passwd("one"); got != "content of "+PasswdFile {
		t.Errorf("the datastore took a changed file without override: %q", got)
	}
	if err := Rotate(ctx, m, dir, "other", "two"); !errors.Is(err, ErrOtherToken) {
		t.Errorf("a rotation from another token: %v", err)
	}
	if err := Rotate(ctx, m, dir, "one", "two"); err != nil {
		t.Fatal(err)
	}
	if got := passwd("two"); got != "changed" || len(m.values) != 1 {
		t.Errorf("after a rotation: %q, %d keys", got, len(m.values))
	}
	if err := Rotate(ctx, m, dir, "two", "two"); err != nil {
		t.Errorf("to the same token: %v", err)
	}
	if err := m.put(Key("three"), nil); err != nil {
		t.Fatal(err)
	}
	if err := Rotate(ctx, m, dir, "two", "four"); !errors.Is(err, errMultiple) {
		t.Errorf("two keys: %v", err)
	}
}
