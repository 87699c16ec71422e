package config

import (
	_ "embed"
	"fmt"
	"strings"
)

//go:embed keys.txt
var keysText string

// documented is one key of k3s, from keys.txt.
type documented struct {
	kind  string // string, list, bool, int or duration
	scope string // both, server or agent
}

func (d documented) belongs(role Role) bool { return d.scope == "both" || d.scope == string(role) }

// k3sKeys are all keys of k3s.
var k3sKeys = parseKeys(keysText)

func parseKeys(text string) map[string]documented {
	keys := map[string]documented{}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(line, "#") {
			continue
		}
		if len(fields) < 3 {
			panic("keys.txt: a line is not name, type and scope: " + line)
		}
		keys[fields[0]] = documented{fields[1], fields[2]}
	}
	return keys
}

// aliases are k3s's short names, which config.yaml may have too.
var aliases = map[string]string{
	"c": "config", "t": "token", "s": "server", "d": "data-dir", "o": "write-kubeconfig", "i": "node-ip", "l": "log",
}

func longName(name string) string {
	if long, ok := aliases[name]; ok {
		return long
	}
	return name
}

// notDefined is k3s's error for a flag that a command does not have.
func notDefined(name string) error { return fmt.Errorf("flag provided but not defined: -%s", name) }

// notBuilt is the error for a key of k3s that this build cannot obey.
func notBuilt(name string) error {
	return fmt.Errorf("key %q is a key of k3s that this lab build does not support; remove it (lab/k3s/README.md lists what is supported)", name)
}
