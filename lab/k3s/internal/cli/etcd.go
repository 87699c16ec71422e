package cli

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"go.yaml.in/yaml/v3"

	"edge-ai/lab/k3s/internal/agent"
	"edge-ai/lab/k3s/internal/config"
	"edge-ai/lab/k3s/internal/etcd"
)

const etcdUsage = `Usage: k3s etcd-snapshot COMMAND [OPTIONS]

  save [--name on-demand]                  take a snapshot of this server's etcd
  ls [-o table|json|yaml]                  list the snapshots on this server
  delete NAME...                           delete snapshots
  prune [--snapshot-retention 5] [--name on-demand]
                                           delete the oldest of this server's snapshots with that base name

Options: --dir DIR (default <data-dir>/server/db/snapshots), --data-dir, --config, --node-name, as for the server
`

// snapshotTimeout bounds how long a snapshot takes: the data is at most 2 GB, a card writes 20 MB/s.
const snapshotTimeout = 5 * time.Minute

// EtcdSnapshot is `k3s etcd-snapshot`. It reads the server's configuration for names and directories.
func EtcdSnapshot(args []string) error {
	if wantsHelp(args) {
		fmt.Print(etcdUsage)
		return nil
	}
	command := args[0]
	flags := flag.NewFlagSet("k3s etcd-snapshot "+command, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	base := flags.String("name", "on-demand", "")
	dir := flags.String("dir", "", "")
	flags.StringVar(dir, "etcd-snapshot-dir", "", "")
	output := flags.String("o", "table", "")
	flags.StringVar(output, "output", "table", "")
	compress := flags.Bool("etcd-snapshot-compress", false, "")
	flags.BoolVar(compress, "snapshot-compress", false, "")
	retention := flags.Int("snapshot-retention", 0, "")
	var server []string
	for _, name := range []string{"config", "data-dir", "node-name"} {
		flags.Func(name, "", func(v string) error {
			server = append(server, "--"+name, v)
			return nil
		})
	}
	rest, err := parseMixed(flags, args[1:])
	if err != nil {
		return err
	}
	if *compress {
		return errors.New("--etcd-snapshot-compress: not built into the lab; snapshots are plain files")
	}
	if command != "delete" && len(rest) > 0 {
		return fmt.Errorf("unexpected argument %q", rest[0])
	}
	c, err := config.Load(config.Server, server)
	if err != nil {
		return err
	}
	if *dir == "" {
		*dir = c.EtcdSnapshotDir
	}
	if *retention == 0 {
		*retention = c.EtcdSnapshotRetention
	}
	if *retention < 1 || *base == "" || strings.ContainsAny(*base, "/ ") {
		return errors.New("--snapshot-retention must be 1 or more, --name a plain file name")
	}
	node := &etcd.Node{ServerDir: filepath.Join(c.DataDir, "server")}
	if node.NodeName, err = agent.NodeName(c); err != nil {
		return err
	}
	if !node.HasData() {
		return errors.New("etcd datastore disabled: this server keeps its data in SQLite; back up <data-dir>/server")
	}
	switch command {
	case "save":
		ctx, cancel := context.WithTimeout(context.Background(), snapshotTimeout)
		defer cancel()
		s, err := node.Save(ctx, *dir, *base, time.Now())
		if err != nil {
			return fmt.Errorf("snapshot failed (is k3s running?): %w", err)
		}
		fmt.Printf("Snapshot %s saved.\n", s.Name)
		return nil
	case "ls", "list", "l":
		return listSnapshots(*dir, *output)
	case "delete":
		return deleteSnapshots(*dir, rest)
	case "prune":
		gone, err := etcd.Prune(*dir, *base, node.NodeName, *retention)
		for _, s := range gone {
			fmt.Printf("Snapshot %s deleted.\n", s.Name)
		}
		return err
	}
	return fmt.Errorf("unknown command %q\n%s", command, etcdUsage)
}

func listSnapshots(dir, output string) error {
	list, err := etcd.List(dir)
	if err != nil {
		return err
	}
	if list == nil {
		list = []etcd.Snapshot{}
	}
	switch output {
	case "json":
		return json.NewEncoder(os.Stdout).Encode(list)
	case "yaml":
		type entry struct { // the same names as in JSON
			Name     string    `yaml:"name"`
			Location string    `yaml:"location"`
			Size     int64     `yaml:"size"`
			Created  time.Time `yaml:"createdAt"`
		}
		entries := []entry{}
		for _, s := range list {
			entries = append(entries, entry(s))
		}
		return yaml.NewEncoder(os.Stdout).Encode(entries)
	case "table":
	default:
		return fmt.Errorf("unknown output format %q; choose table, json or yaml", output)
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 3, ' ', 0)
	fmt.Fprintln(w, "Name\tLocation\tSize\tCreated")
	for _, s := range list {
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\n", s.Name, s.Location, s.Size, s.Created.Format(time.RFC3339))
	}
	return w.Flush()
}

func deleteSnapshots(dir string, names []string) error {
	if len(names) == 0 {
		return errors.New("no snapshots given for removal")
	}
	list, err := etcd.List(dir)
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for _, s := range list {
		known[s.Name] = true
	}
	var errs []error
	for _, name := range names {
		if !known[name] {
			errs = append(errs, fmt.Errorf("snapshot %s not found in %s", name, dir))
			continue
		}
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			errs = append(errs, err)
			continue
		}
		fmt.Printf("Snapshot %s deleted.\n", name)
	}
	return errors.Join(errs...)
}
