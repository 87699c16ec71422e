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

	"github.com/robfig/cron/v3"
	log "github.com/sirupsen/logrus"
	clientv3 "go.etcd.io/etcd/client/v3"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"edge-ai/lab/k3s/internal/agent"
	"edge-ai/lab/k3s/internal/bootstrap"
	"edge-ai/lab/k3s/internal/etcd"
	"edge-ai/lab/k3s/internal/routes"
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
)

func (s *Server) newMember() *etcd.Node {
	return &etcd.Node{
		ServerDir:     s.dir,
		NodeName:      s.nodeName,
		NodeIP:        s.nodeIP,
		ExposeMetrics: s.Config.EtcdExposeMetrics,
		Args:          agent.Flags(s.Config.EtcdArgs),
	}
}

func (s *Server) database() string  { return filepath.Join(s.dir, "db", "state.db") }
func (s *Server) resetFlag() string { return filepath.Join(s.dir, "db", "reset-flag") }

// chooseDatastore decides between SQLite and etcd (then s.etcd is set), and gets the cluster's keys when this server is
// to join. As in k3s, cluster-init and server count only until there is data.
func (s *Server) chooseDatastore(ctx context.Context) error {
	member := s.newMember()
	removed, err := member.PutAside(time.Now())
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

// fetchKeys gets CAs from the server to join and compares what must be equal on every server.
func (s *Server) fetchKeys(ctx context.Context) error {
	t, err := token.Parse(s.Config.Token)
	if err != nil {
		return err
	}
	if t.ID != "" { // a password that looks like a bootstrap token
		t = token.Token{Hash: t.Hash, Password: t.ID + "." + t.Secret}
	}
	if t.User == "" {
		t.User = "server"
	}
	if t.User != "server" {
		return token.ErrForm
	}
	cluster, join, err := agent.FetchBootstrap(ctx, s.Config.ServerURL, t, s.nodeName)
	if err != nil {
		return err
	}
	own := s.cluster()
	own.Version = cluster.Version // differs during an upgrade
	if *cluster != own {
		return fmt.Errorf("critical configuration value mismatch between servers: the cluster has %+v, this server's configuration says %+v", *cluster, own)
	}
	if err := join.Files.Write(filepath.Join(s.dir, "tls")); err != nil {
		return err
	}
	s.joinEndpoints = join.Endpoints
	return nil
}

// startDatastore starts SQLite's server, or this server's member of etcd and waits until it has a vote.
func (s *Server) startDatastore(ctx context.Context) error {
	if s.etcd == nil {
		s.startKine()
		return nil
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
	if err := s.syncKeys(ctx, client); err != nil {
		return err
	}
	if err := os.Remove(s.resetFlag()); err == nil {
		log.Info("etcd runs after its reset; other servers: delete server/db there and start them")
	}
	s.etcdClient, s.memberName = client, name
	go promote(ctx, client)
	if !s.Config.EtcdDisableSnapshots {
		go s.snapshots(ctx)
	}
	return nil
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
			if err := member.Bury(); err != nil {
				return errors.Join(errRemoved, err)
			}
			return errRemoved
		},
	})
}

// removedMember recognises what etcd logs last when the others have removed it.
func removedMember(lines string) bool { return strings.Contains(lines, etcd.Removed) }

// syncKeys keeps the CAs in the datastore, sealed with the token, and refuses to run with others than those.
func (s *Server) syncKeys(ctx context.Context, client *clientv3.Client) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	found, err := client.Get(ctx, bootstrap.Prefix, clientv3.WithPrefix())
	if err != nil {
		return err
	}
	key, dir := bootstrap.Key(s.password), filepath.Join(s.dir, "tls")
	for _, kv := range found.Kvs {
		if string(kv.Key) != key {
			continue
		}
		data, err := bootstrap.Open(kv.Value, s.password)
		if err != nil {
			return err
		}
		return data.Compare(dir)
	}
	if len(found.Kvs) > 0 {
		return bootstrap.ErrOtherToken
	}
	data, err := bootstrap.Read(dir)
	if err != nil {
		return err
	}
	sealed, err := data.Seal(s.password)
	if err != nil {
		return err
	}
	_, err = client.Put(ctx, key, string(sealed))
	return err
}

func promote(ctx context.Context, client *clientv3.Client) {
	last := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(promoteInterval):
		}
		text := ""
		if err := etcd.Promote(ctx, client); err != nil && ctx.Err() == nil {
			text = err.Error()
		}
		if text != last && text != "" {
			log.Warnf("etcd: %s", text)
		}
		last = text
	}
}

// snapshots takes one at each time of the schedule and deletes those beyond the retention.
func (s *Server) snapshots(ctx context.Context) {
	c := s.Config
	schedule, err := cron.ParseStandard(c.EtcdSnapshotCron)
	if err != nil {
		log.Errorf("etcd-snapshot-schedule-cron: %v", err) // judged when the configuration was read
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

// removeMembers takes the etcd member of each Node that is deleted out of the cluster, so that the machine can come back.
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
	if err := s.prepare(now); err != nil {
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
	if err := s.syncKeys(ctx, client); err != nil {
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
		if _, err := os.Stat(s.cred("passwd")); err != nil {
			return fmt.Errorf("%s does not exist, please pass --token to complete the restoration", filepath.Join(s.dir, "token"))
		}
	}
	password, err := s.restorePassword()
	if err != nil {
		return err
	}
	found, err := etcd.ReadPrefix(file, bootstrap.Prefix)
	if err != nil {
		return err
	}
	sealed, ok := found[bootstrap.Key(password)]
	switch {
	case len(found) == 0:
		return fmt.Errorf("%s holds no bootstrap data: it is not a snapshot of a k3s server", file)
	case !ok:
		return bootstrap.ErrOtherToken
	}
	data, err := bootstrap.Open(sealed, password)
	if err != nil {
		return err
	}
	dir := filepath.Join(s.dir, "tls")
	if err := s.etcd.Restore(file, now); err != nil {
		return err
	}
	if data.Compare(dir) != nil { // of another cluster, or of this one before it was made anew
		if err := os.Rename(dir, fmt.Sprintf("%s-%d", dir, now.Unix())); err != nil {
			return err
		}
		if err := os.Rename(s.cred("passwd"), fmt.Sprintf("%s-%d", s.cred("passwd"), now.Unix())); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return data.Write(dir)
}

// restorePassword is the token's, which may have the hash of a CA that is not on this disk yet.
func (s *Server) restorePassword() (string, error) {
	if s.Config.Token == "" {
		inUse, err := routes.ReadPasswords(s.cred("passwd"))
		return inUse["server"], err
	}
	t, err := token.Parse(s.Config.Token)
	if err != nil {
		return "", err
	}
	if t.ID != "" {
		return t.ID + "." + t.Secret, nil
	}
	return t.Password, nil
}
