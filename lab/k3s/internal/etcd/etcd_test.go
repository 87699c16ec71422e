package etcd

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
)

func member(id uint64, name, address string, learner bool) *etcdserverpb.Member {
	return &etcdserverpb.Member{ID: id, Name: name, PeerURLs: []string{"https://" + address + ":2380"}, IsLearner: learner}
}

func TestPlanOfAJoiningServer(t *testing.T) {
	first := member(1, "pi-01-0123abcd", "10.0.0.1", false)
	const me = "https://10.0.0.2:2380"
	for name, c := range map[string]struct {
		members []*etcdserverpb.Member
		want    plan
		err     string
	}{
		"joins": {[]*etcdserverpb.Member{first}, plan{cluster: []string{"pi-01-0123abcd=https://10.0.0.1:2380"}}, ""},
		"continues with an earlier try": {[]*etcdserverpb.Member{first, member(2, "", "10.0.0.2", true)},
			plan{cluster: []string{"pi-01-0123abcd=https://10.0.0.1:2380"}, added: true}, ""},
		"replaces a try that never got a vote": {[]*etcdserverpb.Member{first, member(2, "pi-02-0123abcd", "10.0.0.2", true)},
			plan{cluster: []string{"pi-01-0123abcd=https://10.0.0.1:2380"}, remove: 2}, ""},
		"waits for another server": {[]*etcdserverpb.Member{first, member(3, "", "10.0.0.3", true)}, plan{}, "another server (https://10.0.0.3:2380) is joining"},
		"never takes the place of a voter of its name": {[]*etcdserverpb.Member{first, member(2, "pi-02-0123abcd", "10.0.0.9", false)},
			plan{}, "duplicate node name found"},
		"never takes the place of a voter at its address": {[]*etcdserverpb.Member{first, member(2, "old-0123abcd", "10.0.0.2", false)},
			plan{}, "duplicate node name found"},
	} {
		got := makePlan(c.members, "pi-02", me)
		if c.err != "" {
			if got.err == nil || !strings.Contains(got.err.Error(), c.err) {
				t.Errorf("%s: got %v", name, got.err)
			}
			continue
		}
		if got.err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %+v", name, got)
		}
	}
}

func TestNamesOfMembers(t *testing.T) {
	n := &Node{ServerDir: t.TempDir(), NodeName: "pi-01", NodeIP: "10.0.0.1"}
	name, err := n.Name()
	if err != nil || !ofNode(name, "pi-01") {
		t.Fatalf("%q, %v", name, err)
	}
	if again, err := n.Name(); err != nil || again != name {
		t.Errorf("after a restart %q, %v", again, err)
	}
	if ofNode(name, "pi-0") || ofNode("pi-01-server-0123abcd", "pi-01") || ofNode("pi-01", "pi-01") {
		t.Error("names of other nodes are taken for this one's")
	}
	if err := n.MarkRemoved(); err != nil {
		t.Fatal(err)
	}
	if done, err := n.MoveAway(time.Unix(7, 0)); !done || err != nil {
		t.Fatal(done, err)
	}
	if _, err := os.Stat(n.Dir() + "-old-7"); err != nil {
		t.Error("the data of the removed member is not kept")
	}
	if other, err := n.Name(); err != nil || other == name {
		t.Errorf("the removed member's name is used again: %q, %v", other, err)
	}
	if done, err := n.MoveAway(time.Now()); done || err != nil {
		t.Error("the new member is moved to a backup too", err)
	}
}

func TestOldestSnapshotsOfTheSameKindAreSurplus(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"etcd-snapshot-pi-01-300", "etcd-snapshot-pi-01-100", "etcd-snapshot-pi-01-200", "etcd-snapshot-pi-02-50",
		"on-demand-pi-01-10", "notes.txt", "half-pi-01-7.part", "-5"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	gone, err := Prune(dir, "etcd-snapshot", "pi-01", 2)
	if err != nil || len(gone) != 1 || gone[0].Name != "etcd-snapshot-pi-01-100" {
		t.Fatalf("%+v, %v", gone, err)
	}
	list, err := List(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range list {
		names = append(names, s.Name)
	}
	if want := "on-demand-pi-01-10 etcd-snapshot-pi-02-50 etcd-snapshot-pi-01-200 etcd-snapshot-pi-01-300"; strings.Join(names, " ") != want {
		t.Errorf("got %v", names)
	}
	if list, err := List(filepath.Join(dir, "none")); err != nil || len(list) != 0 {
		t.Error("a directory that is absent:", list, err)
	}
}

func TestDamagedSnapshotsAreRefused(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{"empty": "", "short": "x", "foreign": strings.Repeat("x", 4096)} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadPrefix(file, "/"); err == nil || !strings.Contains(err.Error(), "not a snapshot of etcd") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := Verify(filepath.Join(dir, "absent")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}
