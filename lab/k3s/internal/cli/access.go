package cli

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"time"

	"edge-ai/lab/k3s/internal/agent"
	"edge-ai/lab/k3s/internal/config"
	"edge-ai/lab/k3s/internal/token"
)

const (
	defaultServer = "https://127.0.0.1:6443"
	accessTimeout = time.Minute
)

func wantsHelp(args []string) bool {
	return len(args) == 0 || args[0] == "--help" || args[0] == "-h" || args[0] == "help"
}

func dataDirFlag(flags *flag.FlagSet) *string {
	dir := flags.String("data-dir", config.DefaultDataDir, "")
	flags.StringVar(dir, "d", config.DefaultDataDir, "")
	return dir
}

// access is how a command reaches the supervisor of a server: with the server's token.
type access struct {
	server, token, dataDir *string
}

// newAccess defines the flags; the environment has the values that k3s takes from there.
func newAccess(flags *flag.FlagSet) access {
	url := os.Getenv("K3S_URL")
	if url == "" {
		url = defaultServer
	}
	a := access{server: flags.String("server", url, ""), token: flags.String("token", os.Getenv("K3S_TOKEN"), ""), dataDir: dataDirFlag(flags)}
	flags.StringVar(a.server, "s", url, "")
	flags.StringVar(a.token, "t", os.Getenv("K3S_TOKEN"), "")
	return a
}

func (a access) call(ctx context.Context, method, name string, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, accessTimeout)
	defer cancel()
	text := *a.token
	if text == "" {
		data, err := os.ReadFile(filepath.Join(*a.dataDir, "server", "token"))
		if err != nil {
			return nil, err
		}
		text = string(data)
	}
	t, err := token.Parse(text)
	if err != nil {
		return nil, err
	}
	password, err := token.Normalize(text)
	if err != nil {
		return nil, err
	}
	join := agent.ServerJoin{URL: *a.server, Hash: t.Hash, Password: password}
	return join.Call(ctx, method, name, body)
}
