package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/k3s-io/kine/pkg/endpoint"
	"github.com/k3s-io/kine/pkg/tls"
	"github.com/robfig/cron/v3"
	log "github.com/sirupsen/logrus"
	clientv3 "go.etcd.io/etcd/client/v3"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"edge-ai/lab/k3s/internal/agent"
	"edge-ai/lab/k3s/internal/bootstrap"
	"edge-ai/lab/k3s/internal/etcd"
	"edge-ai/lab/k3s/internal/passwd"
	"edge-ai/lab/k3s/internal/supervise"
	"edge-ai/lab/k3s/internal/token"
)

// Words of k3s.
var errRemoved = errors.New("this node has been removed from the cluster please restart k3s to rejoin the cluster")

// memberAnnotation on a Node names the etcd member that goes with it.
const memberAnnotation = "etcd.k3s.cattle.io/node-name"

const (
	promoteInterval = 3 * time.Second
	resetTimeout    = 5 * time.Minute
	// storePatience bounds the wait for a datastore that starts, and the reading and writing of the bootstrap data.
	storePatience = 2 * time.Minute
)

func (s *Server) newMember() *etcd.Node {
	return &etcd.Node{
		ServerDir:     s.dir,
		NodeName:      s.nodeName,
		NodeIP:        s.nodeIP,
		ExposeMetrics: s.Config.EtcdExposeMetrics,
		Args:          s.Config.EtcdArgs,
	}
}

func (s *Server) database() string  { return filepath.Join(s.dir, "db", "state.db") }
func (s *Server) resetFlag() string { return filepath.Join(s.dir, "db", "reset-flag") }

// chooseDatastore decides between SQLite and etcd (then s.etcd is set), and gets the cluster's keys when this server is
// to join. As in k3s, cluster-init and server count only until there is data.
func (s *Server) chooseDatastore(ctx context.Context) error {
	member := s.newMember()
	removed, err := member.MoveAway(time.Now())
	if err != nil {
		return err
	}
	if removed && s.Config.ServerURL == "" {
		// With cluster-init it would found a second cluster of the same name.
		return fmt.Errorf("this server was removed from its cluster; to rejoin, set server to the URL of another one (its old data is beside %s)",
			member.Dir())
	}
	_, err = os.Stat(s.database())
	sqlite := err == nil
	join := s.Config.ServerURL != ""
	switch {
	case member.HasData():
		s.etcd = member
		return nil
	case sqlite && join:
		return fmt.Errorf("%s: this server has a cluster of its own in SQLite; back up and delete it to join %s", s.database(), s.Config.ServerURL)
	case sqlite && s.Config.ClusterInit:
		return fmt.Errorf("%s: k3s would move this cluster from SQLite to etcd, which this lab build cannot; remove cluster-init", s.database())
	case join:
		s.etcd = member
		return s.fetchKeys(ctx)
	case s.Config.ClusterInit:
		s.etcd = member
	}
	return nil
}

// fetchKeys gets the cluster's files from the server to join and compares what must be equal on every server.
func (s *Server) fetchKeys(ctx context.Context) error {
	j, err := s.joiner()
	if err != nil {
		return err
	}
	cluster, join, err := j.Fetch(ctx)
	if err != nil {
		return err
	}
	own := s.cluster()
	own.Version = cluster.Version // differs during an upgrade
	if different := own.Differ(*cluster); len(different) > 0 {
		for _, d := range different {
			log.Errorf("critical configuration mismatched: %s", d)
		}
		return fmt.Errorf("critical configuration value mismatch between servers: %s", strings.Join(different, "; "))
	}
	s.joinEndpoints = join.Endpoints
	return join.Files.Reconcile(s.dir, false, time.Now())
}

// joiner talks to the server in the configuration: as user server, and as an agent for what agents may see.
func (s *Server) joiner() (*agent.ServerJoin, error) {
	t, err := token.Parse(s.Config.Token)
	if err != nil {
		return nil, err
	}
	if t.User != "" && t.User != passwd.Server {
		return nil, token.ErrForm
	}
	password, err := token.Normalize(s.Config.Token)
	if err != nil {
		return nil, err
	}
	nodePassword := password
	if s.Config.AgentToken != "" {
		if nodePassword, err = token.Normalize(s.Config.AgentToken); err != nil {
			return nil, fmt.Errorf("agent-token: %w", err)
		}
	}
	return &agent.ServerJoin{URL: s.Config.ServerURL, Hash: t.Hash, Password: password, NodePassword: nodePassword, NodeName: s.nodeName}, nil
}

// datastore is how the other components and the routes reach it.
func (s *Server) datastore() endpoint.ETCDConfig {
	if s.etcd == nil {
		return endpoint.ETCDConfig{Endpoints: []string{"unix://" + s.socket()}}
	}
	return endpoint.ETCDConfig{Endpoints: []string{etcd.LocalURL},
		TLSConfig: tls.Config{CAFile: s.tls("etcd/server-ca.crt"), CertFile: s.tls("etcd/client.crt"), KeyFile: s.tls("etcd/client.key")}}
}

// startDatastore starts SQLite's server, or this server's member of etcd and waits until it has a vote.
func (s *Server) startDatastore(ctx context.Context) error {
	if s.etcd == nil {
		s.startKine()
		return nil
	}
	// The datastore may be all that has the CAs of its own members; so they are looked for in its file.
	if s.etcd.HasData() {
		if err := s.etcdFiles(); err != nil {
			return err
		}
	}
	if err := s.etcd.Certificates(time.Now()); err != nil {
		return err
	}
	name, err := s.etcd.Name()
	if err != nil {
		return err
	}
	cluster := ""
	if s.joinEndpoints != nil {
		if cluster, err = s.etcd.Join(ctx, name, s.joinEndpoints); err != nil {
			return err
		}
		log.Infof("Joining etcd as %s: %s", name, cluster)
	}
	s.runEtcd(name, cluster, false)
	client, err := s.etcd.Client()
	if err != nil {
		return err
	}
	if err := s.etcd.WaitReady(ctx, client); err != nil {
		return err
	}
	s.etcdClient, s.memberName = client, name
	return nil
}

// etcdFiles gets etcd's CAs back that are absent on disk.
func (s *Server) etcdFiles() error {
	for _, name := range []string{"server-ca.crt", "server-ca.key", "peer-ca.crt", "peer-ca.key"} {
		if _, err := os.Stat(s.tls("etcd/" + name)); err == nil {
			continue
		}
		password, err := s.knownPassword()
		if err != nil {
			return err
		}
		found, err := s.etcd.ReadPrefix(bootstrap.Prefix)
		if err != nil {
			return err
		}
		data, err := unseal(found, password)
		if err != nil {
			return fmt.Errorf("%s: %w", s.etcd.Dir(), err)
		}
		return data.Reconcile(s.dir, false, time.Now())
	}
	return nil
}

// unseal opens the files that a datastore without a running server holds.
func unseal(found map[string][]byte, password string) (bootstrap.Data, error) {
	sealed, ok := found[bootstrap.Key(password)]
	switch {
	case len(found) == 0:
		return nil, errors.New("no bootstrap data: this is not of a k3s server")
	case !ok:
		return nil, bootstrap.ErrOtherToken
	}
	return bootstrap.Open(sealed, password)
}

// reconcile compares the files on disk with those of the cluster, before any is made or renewed. A server of several
// asks the one in its configuration first, as in k3s, and its own datastore when that does not answer or refuses.
func (s *Server) reconcile(ctx context.Context, store bootstrap.Store, reset bool) error {
	if s.joinEndpoints != nil {
		return nil // they just came from another server
	}
	if s.etcd != nil && s.Config.ServerURL != "" && s.Config.Token != "" {
		j, err := s.joiner()
		if err != nil {
			return err
		}
		join, err := j.Keys(ctx)
		if err == nil {
			return join.Files.Reconcile(s.dir, false, time.Now())
		}
		log.Warnf("Unable to reconcile with remote datastore: %v", err)
	}
	password, err := s.knownPassword()
	if err != nil || password == "" {
		return err // the first start, or one without any token: save finds out about another cluster's data
	}
	data, err := bootstrap.Load(ctx, store, password)
	if err != nil || data == nil {
		return err
	}
	log.Info("Reconciling bootstrap data between datastore and disk")
	return data.Reconcile(s.dir, reset, time.Now())
}

// save puts this server's files into a datastore that has none yet.
func (s *Server) save(ctx context.Context, store bootstrap.Store) error {
	if err := bootstrap.Save(ctx, store, s.dir, s.password, false); err != nil {
		return fmt.Errorf("failed to save bootstrap data: %w", err)
	}
	return nil
}

// withStore calls f with a client of the datastore, which may be only starting.
func (s *Server) withStore(ctx context.Context, f func(context.Context, bootstrap.Store) error) error {
	ctx, cancel := context.WithTimeout(ctx, storePatience)
	defer cancel()
	store, err := bootstrap.Connect(s.datastore())
	if err != nil {
		return err
	}
	defer store.Close()
	var failed error
	err = wait.PollUntilContextCancel(ctx, 250*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		ctx, stop := context.WithTimeout(ctx, 5*time.Second)
		defer stop()
		_, failed = store.List(ctx, bootstrap.Prefix, 0)
		return failed == nil, nil
	})
	if err != nil {
		return fmt.Errorf("the datastore does not answer: %w", failed)
	}
	return f(ctx, store)
}

// runsOnEtcd is for the time after the start of a member whose files are in order.
func (s *Server) runsOnEtcd(ctx context.Context) {
	if err := os.Remove(s.resetFlag()); err == nil {
		log.Info("etcd runs after its reset; other servers: delete server/db there and start them")
	}
	go promote(ctx, s.etcdClient)
	if !s.Config.EtcdDisableSnapshots {
		go s.snapshots(ctx)
	}
}

func (s *Server) runEtcd(name, cluster string, force bool) {
	member := s.etcd
	s.Group.Start(supervise.Component{
		Name:  "etcd",
		Args:  member.Flags(name, cluster, force),
		Phase: 4,
		Fatal: func(lines string) error {
			if !removedMember(lines) {
				return nil
			}
			if err := member.MarkRemoved(); err != nil {
				return errors.Join(errRemoved, err)
			}
			return errRemoved
		},
	})
}

// removedMember recognises what etcd logs last when the others have removed it.
func removedMember(lines string) bool { return strings.Contains(lines, etcd.Removed) }

func promote(ctx context.Context, client *clientv3.Client) {
	last := ""
	wait.UntilWithContext(ctx, func(ctx context.Context) {
		text := ""
		if err := etcd.Promote(ctx, client); err != nil && ctx.Err() == nil {
			text = err.Error()
		}
		if text != last && text != "" {
			log.Warnf("etcd: %s", text)
		}
		last = text
	}, promoteInterval)
}

// snapshots takes one at each time of the schedule and deletes those beyond the retention.
func (s *Server) snapshots(ctx context.Context) {
	c := s.Config
	schedule, err := cron.ParseStandard(c.EtcdSnapshotCron)
	if err != nil {
		log.Errorf("etcd-snapshot-schedule-cron: %v", err) // checked when the configuration was read
		return
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Until(schedule.Next(time.Now()))):
		}
		saved, err := s.etcd.Save(ctx, c.EtcdSnapshotDir, c.EtcdSnapshotName, time.Now())
		if err == nil {
			log.Infof("Saved snapshot %s", saved.Name)
			_, err = etcd.Prune(c.EtcdSnapshotDir, c.EtcdSnapshotName, s.nodeName, c.EtcdSnapshotRetention)
		}
		if err != nil {
			log.Errorf("etcd snapshot: %v", err)
		}
	}
}

// removeMembers takes the etcd member of each Node that is deleted out of the cluster, so that the machine can join again.
// Every server does; the first one wins.
func (s *Server) removeMembers(ctx context.Context, client kubernetes.Interface) error {
	factory := informers.NewSharedInformerFactory(client, 0)
	_, err := factory.Core().V1().Nodes().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		DeleteFunc: func(o any) {
			if missed, ok := o.(cache.DeletedFinalStateUnknown); ok {
				o = missed.Obj
			}
			node, ok := o.(*corev1.Node)
			if !ok || node.Annotations[memberAnnotation] == "" {
				return
			}
			go s.removeMember(ctx, node.Annotations[memberAnnotation])
		},
	})
	factory.Start(ctx.Done())
	return err
}

func (s *Server) removeMember(ctx context.Context, name string) {
	for wait := time.Second; ; wait *= 2 {
		removed, err := etcd.Remove(ctx, s.etcdClient, name)
		if removed {
			log.Infof("etcd member %s is removed: its Node was deleted", name)
		}
		if err == nil || wait > time.Minute {
			return
		}
		log.Errorf("Failed to remove etcd member %s: %v", name, err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// Reset is `k3s server --cluster-reset`: afterwards the data is that of a cluster with this server alone.
func (s *Server) Reset(ctx context.Context) error {
	if err := s.identify(); err != nil {
		return err
	}
	if _, err := os.Stat(s.resetFlag()); err == nil {
		return fmt.Errorf("Managed etcd cluster membership was previously reset, please remove the cluster-reset flag and start k3s normally. "+
			"If you need to perform another cluster reset, you must first manually delete the file at %s", s.resetFlag())
	}
	if conn, err := net.DialTimeout("tcp", "127.0.0.1:2379", time.Second); err == nil {
		conn.Close()
		return errors.New("cluster-reset: etcd is running on this machine; stop k3s on every server first")
	}
	ctx, cancel := context.WithTimeout(ctx, resetTimeout)
	defer cancel()
	s.etcd = s.newMember()
	now := time.Now()
	if file := s.Config.ClusterResetRestorePath; file != "" {
		if err := s.restore(file, now); err != nil {
			return err
		}
	} else if !s.etcd.HasData() {
		return fmt.Errorf("cluster-reset: there is no etcd data in %s", s.etcd.Dir())
	}
	if err := s.etcdFiles(); err != nil {
		return err
	}
	if err := s.etcd.Certificates(now); err != nil {
		return err
	}
	name, err := s.etcd.Name()
	if err != nil {
		return err
	}
	s.runEtcd(name, "", true)
	client, err := s.etcd.Client()
	if err != nil {
		return err
	}
	defer client.Close()
	if err := s.etcd.WaitReady(ctx, client); err != nil {
		return fmt.Errorf("cluster-reset: etcd does not answer after %s: %w", resetTimeout, err)
	}
	err = s.withStore(ctx, func(ctx context.Context, store bootstrap.Store) error {
		if err := s.reconcile(ctx, store, true); err != nil {
			return err
		}
		if err := s.prepare(now); err != nil {
			return err
		}
		return s.save(ctx, store)
	})
	if err != nil {
		return err
	}
	s.Group.Stop()
	if err := os.WriteFile(s.resetFlag(), nil, 0o600); err != nil {
		return err
	}
	log.Info("Managed etcd cluster membership has been reset, restart without --cluster-reset flag now. " +
		"Backup and delete ${datadir}/server/db on each peer etcd server and rejoin the nodes")
	return nil
}

// restore puts a snapshot and the keys in it in place; nothing is changed unless both are good. What was there is kept.
func (s *Server) restore(file string, now time.Time) error {
	if s.Config.Token == "" {
		if _, err := os.Stat(filepath.Join(s.dir, "token")); err != nil {
			return fmt.Errorf("%s does not exist, please pass --token to complete the restoration", filepath.Join(s.dir, "token"))
		}
	}
	password, err := s.knownPassword()
	if err != nil {
		return err
	}
	found, err := etcd.ReadPrefix(file, bootstrap.Prefix)
	if err != nil {
		return err
	}
	data, err := unseal(found, password)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if err := s.etcd.Restore(file, now); err != nil {
		return err
	}
	return data.Reconcile(s.dir, true, now)
}
