package passwd

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestTwoUsers(t *testing.T) {
	file := filepath.Join(t.TempDir(), "passwd")
	table, err := Read(file)
	if err != nil {
		t.Fatal(err)
	}
	table.Ensure(Server, ServerGroup, `s"ecr,et`)
	table.Ensure(Node, AgentGroup, "agents")
	if err := table.Write(file); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	text, err := os.ReadFile(file)
	if want := "\"s\"\"ecr,et\",server,server,k3s:server\nagents,node,node,k3s:agent\n"; err != nil || string(text) != want {
		t.Errorf("got %q, %v", text, err)
	}
	if table, err = Read(file); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, password, group string
		ok                    bool
	}{
		{Server, `s"ecr,et`, ServerGroup, true},
		{Node, "agents", AgentGroup, true},
		{Node, `s"ecr,et`, "", false},
		{Server, "agents", "", false},
		{Server, "", "", false},
		{"nobody", "", "", false},
	} {
		if group, ok := table.Group(c.name, c.password); group != c.group || ok != c.ok {
			t.Errorf("%s with %q: %q, %v", c.name, c.password, group, ok)
		}
	}
}

func TestAnUnchangedFileKeepsItsTime(t *testing.T) {
	file := filepath.Join(t.TempDir(), "passwd")
	table := &Table{}
	table.Ensure(Server, ServerGroup, "a")
	if err := table.Write(file); err != nil {
		t.Fatal(err)
	}
	past := time.Now().Add(-time.Hour).Truncate(time.Second)
	if err := os.Chtimes(file, past, past); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		password string
		kept     bool
	}{{"a", true}, {"b", false}} {
		table, err := Read(file)
		if err != nil {
			t.Fatal(err)
		}
		table.Ensure(Server, ServerGroup, c.password)
		if err := table.Write(file); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(file)
		if err != nil || info.ModTime().Equal(past) != c.kept {
			t.Errorf("%s: %v, %v", c.password, info.ModTime(), err)
		}
	}
}

func TestABrokenFileIsAnError(t *testing.T) {
	for _, text := range []string{"x,server\n", ",server,server,k3s:server\n", "\"x\n"} {
		file := filepath.Join(t.TempDir(), "passwd")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(file); err == nil {
			t.Errorf("%q: no error", text)
		}
	}
}
