// Package passwd reads and writes server/cred/passwd: who may authenticate at the supervisor with a password.
//
// As in k3s there are two users. "server" (group k3s:server) is what servers join with and what rotates the token;
// "node" (group k3s:agent) is what every agent authenticates as. Unless an agent token is configured, both have the
// same password.
package passwd

import (
	"bytes"
	"crypto/subtle"
	"encoding/csv"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"edge-ai/lab/k3s/internal/files"
)

// The users and their groups.
const (
	Server      = "server"
	Node        = "node"
	ServerGroup = "k3s:server"
	AgentGroup  = "k3s:agent"
)

type entry struct{ name, password, group string }

// Table is the content of the file, in its order.
type Table struct {
	entries []entry
	changed bool
}

// Read reads a file; one that is absent is empty. Lines are password,user,user,group.
func Read(file string) (*Table, error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return &Table{}, nil
	}
	if err != nil {
		return nil, err
	}
	records, err := csv.NewReader(bytes.NewReader(data)).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	t := &Table{}
	for _, r := range records {
		if len(r) < 4 || r[0] == "" || r[1] == "" {
			return nil, fmt.Errorf("%s: a line is not password,user,user,group", file)
		}
		t.entries = append(t.entries, entry{r[1], r[0], r[3]})
	}
	return t, nil
}

func (t *Table) index(name string) int {
	return slices.IndexFunc(t.entries, func(e entry) bool { return e.name == name })
}

// Password gives a user's, empty when there is none.
func (t *Table) Password(name string) string {
	if i := t.index(name); i >= 0 {
		return t.entries[i].password
	}
	return ""
}

// Ensure sets a user's password and group.
func (t *Table) Ensure(name, group, password string) {
	want := entry{name, password, group}
	i := t.index(name)
	switch {
	case i < 0:
		t.entries = append(t.entries, want)
	case t.entries[i] == want:
		return
	default:
		t.entries[i] = want
	}
	t.changed = true
}

// Group authenticates: it gives the group of the user, false when there is no such user or the password is wrong.
func (t *Table) Group(name, password string) (string, bool) {
	i := t.index(name)
	if i < 0 || password == "" || subtle.ConstantTimeCompare([]byte(t.entries[i].password), []byte(password)) != 1 {
		return "", false
	}
	return t.entries[i].group, true
}

// Write replaces the file, if anything changed since Read: its time is the age of its content (see bootstrap).
func (t *Table) Write(file string) error {
	if !t.changed {
		return nil
	}
	var text bytes.Buffer
	w := csv.NewWriter(&text)
	for _, e := range t.entries {
		_ = w.Write([]string{e.password, e.name, e.name, e.group}) // a Buffer never fails
	}
	w.Flush()
	return files.Write(file, text.Bytes(), 0o600)
}
