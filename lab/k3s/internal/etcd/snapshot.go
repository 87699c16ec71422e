package etcd

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/client/v3/snapshot"
	utl "go.etcd.io/etcd/etcdutl/v3/snapshot"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"
)

// revisionBump is added to the revision of a restored datastore, so that clients of the old one, which may have seen
// later revisions than the snapshot's, read everything again.
const revisionBump = 1_000_000_000

// Snapshot is a file made by Save.
type Snapshot struct {
	Name     string    `json:"name"`
	Location string    `json:"location"` // file:// URL
	Size     int64     `json:"size"`     // bytes
	Created  time.Time `json:"createdAt"`
}

// Save writes a snapshot of this server's member to dir/<base>-<node>-<Unix time>, readable by its owner alone.
func (n *Node) Save(ctx context.Context, dir, base string, now time.Time) (Snapshot, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Snapshot{}, err
	}
	conf, err := n.clientConfig([]string{LocalURL})
	if err != nil {
		return Snapshot{}, err
	}
	name := fmt.Sprintf("%s-%s-%d", base, n.NodeName, now.Unix())
	file := filepath.Join(dir, name)
	if _, err := os.Stat(file); err == nil {
		return Snapshot{}, fmt.Errorf("%s exists", file)
	}
	if _, err := snapshot.SaveWithVersion(ctx, zap.NewNop(), conf, file); err != nil {
		return Snapshot{}, err
	}
	if err := os.Chmod(file, 0o600); err != nil {
		return Snapshot{}, err
	}
	return describe(file)
}

func describe(file string) (Snapshot, error) {
	info, err := os.Stat(file)
	if err != nil {
		return Snapshot{}, err
	}
	s := Snapshot{Name: filepath.Base(file), Location: "file://" + file, Size: info.Size(), Created: info.ModTime().UTC()}
	if at, ok := takenAt(s.Name); ok {
		s.Created = at
	}
	return s, nil
}

// takenAt reads the time in a snapshot's name.
func takenAt(name string) (time.Time, bool) {
	i := strings.LastIndexByte(name, '-')
	seconds, err := strconv.ParseInt(name[i+1:], 10, 64)
	if i < 1 || err != nil || seconds < 0 {
		return time.Time{}, false
	}
	return time.Unix(seconds, 0).UTC(), true
}

// List gives the snapshots of a directory, oldest first. A directory that is absent has none.
func List(dir string) ([]Snapshot, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var list []Snapshot
	for _, e := range entries {
		if _, ok := takenAt(e.Name()); !ok || !e.Type().IsRegular() {
			continue
		}
		s, err := describe(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	slices.SortStableFunc(list, func(a, b Snapshot) int { return a.Created.Compare(b.Created) })
	return list, nil
}

// Surplus are the oldest snapshots of that base and node beyond the newest keep.
func Surplus(list []Snapshot, base, node string, keep int) []Snapshot {
	var own []Snapshot
	for _, s := range list {
		i := strings.LastIndexByte(s.Name, '-')
		if i > 0 && s.Name[:i] == base+"-"+node {
			own = append(own, s)
		}
	}
	return own[:max(0, len(own)-keep)]
}

// Prune deletes the surplus of a directory and returns it.
func Prune(dir, base, node string, keep int) ([]Snapshot, error) {
	list, err := List(dir)
	if err != nil {
		return nil, err
	}
	surplus := Surplus(list, base, node, keep)
	for _, s := range surplus {
		if err := os.Remove(filepath.Join(dir, s.Name)); err != nil {
			return nil, err
		}
	}
	return surplus, nil
}

// Restore makes a snapshot the data of a cluster with this member alone. What was there is kept as etcd-old-<Unix time>.
func (n *Node) Restore(file string, now time.Time) error {
	fresh := n.Dir() + ".restored"
	if err := os.RemoveAll(fresh); err != nil {
		return err
	}
	defer os.RemoveAll(fresh)
	if err := os.MkdirAll(filepath.Dir(fresh), 0o700); err != nil {
		return err
	}
	name := n.freshName()
	if err := utl.NewV3(zap.NewNop()).Restore(utl.RestoreConfig{
		SnapshotPath:        file,
		Name:                name,
		OutputDataDir:       fresh,
		PeerURLs:            []string{n.peerURL()},
		InitialCluster:      name + "=" + n.peerURL(),
		InitialClusterToken: "etcd-cluster",
		RevisionBump:        revisionBump,
		MarkCompacted:       true,
	}); err != nil {
		return fmt.Errorf("%s cannot be restored: %w", file, err)
	}
	if err := os.WriteFile(filepath.Join(fresh, "name"), []byte(name+"\n"), 0o600); err != nil {
		return err
	}
	if err := n.rename(now); err != nil {
		return err
	}
	return os.Rename(fresh, n.Dir())
}

// Verify reports whether a file is a whole snapshot: its last 32 bytes are the SHA-256 of those before.
func Verify(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	size := info.Size() - sha256.Size
	if !info.Mode().IsRegular() || size <= 0 {
		return fmt.Errorf("%s is not a snapshot of etcd", file)
	}
	sum := sha256.New()
	if _, err := io.CopyN(sum, f, size); err != nil {
		return err
	}
	want := make([]byte, sha256.Size)
	if _, err := io.ReadFull(f, want); err != nil {
		return err
	}
	if !bytes.Equal(sum.Sum(nil), want) {
		return fmt.Errorf("%s is truncated or damaged, or not a snapshot of etcd: its digest does not fit", file)
	}
	return nil
}

// ReadPrefix gives the keys of a snapshot that begin with prefix, without starting etcd on it.
func ReadPrefix(file, prefix string) (map[string][]byte, error) {
	if err := Verify(file); err != nil {
		return nil, err
	}
	return readPrefix(file, prefix)
}

// ReadPrefix gives such keys of a member that is not running. What etcd had only in its log when it was killed is not
// among them.
func (n *Node) ReadPrefix(prefix string) (map[string][]byte, error) {
	return readPrefix(filepath.Join(n.Dir(), "member", "snap", "db"), prefix)
}

func readPrefix(file, prefix string) (map[string][]byte, error) {
	db, err := bbolt.Open(file, 0o400, &bbolt.Options{ReadOnly: true, Timeout: callTimeout})
	if err != nil {
		return nil, fmt.Errorf("%s is not a snapshot of etcd: %w", file, err)
	}
	defer db.Close()
	found := map[string][]byte{}
	err = db.View(func(tx *bbolt.Tx) error {
		bucket := tx.Bucket([]byte("key"))
		if bucket == nil {
			return fmt.Errorf("%s is not a snapshot of etcd: it has no keys", file)
		}
		// In the order of revisions: later ones replace earlier ones.
		return bucket.ForEach(func(revision, value []byte) error {
			var kv mvccpb.KeyValue
			if err := proto.Unmarshal(value, &kv); err != nil {
				return err
			}
			if !bytes.HasPrefix(kv.Key, []byte(prefix)) {
				return nil
			}
			if revision[len(revision)-1] == 't' && len(revision) == 18 { // a deletion
				delete(found, string(kv.Key))
			} else {
				found[string(kv.Key)] = kv.Value
			}
			return nil
		})
	})
	return found, err
}
