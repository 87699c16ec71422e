package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	log "github.com/sirupsen/logrus"

	"edge-ai/lab/k3s/internal/files"
)

const (
	dialTimeout = 5 * time.Second
	// A server with connections is tried this often; after two failures in a row its connections are closed, so that
	// kubelet continues with another server long before TCP would notice that a machine lost its power.
	checkInterval = 3 * time.Second
	checkTimeout  = 3 * time.Second
	// refreshInterval is how often the present servers are asked for.
	refreshInterval = 30 * time.Second
)

// loadBalancer forwards TCP from 127.0.0.1:6444 to the first server that answers, so that kubelet and kube-proxy
// need not know which server lives. It remembers the servers on disk: the configured one may be off at the next start.
type loadBalancer struct {
	url      string // the configured server's, for which the remembered ones hold
	fallback string // its host:port, tried last
	file     string

	mu      sync.Mutex
	servers []string // host:port; the last one that answered comes first
	conns   map[net.Conn]string
}

// remembered is the file's content, as k3s has it.
type remembered struct {
	ServerURL       string
	ServerAddresses []string
}

func newLoadBalancer(url, fallback, file string) *loadBalancer {
	lb := &loadBalancer{url: url, fallback: fallback, file: file, servers: []string{fallback}, conns: map[net.Conn]string{}}
	var known remembered
	data, err := os.ReadFile(file)
	if err != nil || json.Unmarshal(data, &known) != nil || known.ServerURL != url || len(known.ServerAddresses) == 0 {
		return lb
	}
	lb.servers = known.ServerAddresses
	return lb
}

// start listens on the loopback port and forwards until ctx ends.
func (lb *loadBalancer) start(ctx context.Context, port int) error {
	listener, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return fmt.Errorf("load balancer: %w", err)
	}
	context.AfterFunc(ctx, func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				log.Errorf("Load balancer: %v", err)
				time.Sleep(time.Second) // out of file descriptors, most likely
				continue
			}
			go lb.forward(ctx, conn)
		}
	}()
	go lb.watch(ctx)
	log.Infof("Running load balancer 127.0.0.1:%d -> %v", port, lb.servers)
	return nil
}

// refresh asks for the present servers until ctx ends.
func (lb *loadBalancer) refresh(ctx context.Context, ask func(context.Context) ([]string, error)) {
	for {
		servers, err := ask(ctx)
		if err != nil {
			log.Debugf("Load balancer: %v", err)
		} else if err := lb.set(servers); err != nil {
			log.Warnf("Load balancer: %v", err)
		}
		if sleep(ctx, refreshInterval) != nil {
			return
		}
	}
}

// set makes these the servers, in the order of before, and remembers them.
func (lb *loadBalancer) set(servers []string) error {
	if len(servers) == 0 {
		return nil // no lease was renewed lately: better the servers of before
	}
	lb.mu.Lock()
	var next []string
	for _, s := range lb.servers {
		if slices.Contains(servers, s) {
			next = append(next, s)
		} else {
			log.Infof("Removing server from load balancer: %s", s)
		}
	}
	for _, s := range servers {
		if !slices.Contains(next, s) {
			log.Infof("Adding server to load balancer: %s", s)
			next = append(next, s)
		}
	}
	changed := !slices.Equal(next, lb.servers)
	lb.servers = next
	lb.mu.Unlock()
	if _, err := os.Stat(lb.file); err == nil && !changed {
		return nil
	}
	data, err := json.Marshal(remembered{lb.url, next})
	if err != nil {
		return err
	}
	return files.Write(lb.file, append(data, '\n'), 0o600)
}

// DialContext connects to a server that answers, whatever address is asked for.
func (lb *loadBalancer) DialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	conn, _, err := lb.dial(ctx)
	return conn, err
}

func (lb *loadBalancer) dial(ctx context.Context) (net.Conn, string, error) {
	lb.mu.Lock()
	servers := slices.Clone(lb.servers)
	lb.mu.Unlock()
	if !slices.Contains(servers, lb.fallback) {
		servers = append(servers, lb.fallback)
	}
	dialer := net.Dialer{Timeout: dialTimeout}
	var errs []error
	for _, s := range servers {
		conn, err := dialer.DialContext(ctx, "tcp", s)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		lb.prefer(s)
		return conn, s, nil
	}
	return nil, "", errors.Join(errs...)
}

// prefer puts a server first.
func (lb *loadBalancer) prefer(server string) {
	lb.mu.Lock()
	defer lb.mu.Unlock()
	if i := slices.Index(lb.servers, server); i > 0 {
		lb.servers = slices.Insert(slices.Delete(slices.Clone(lb.servers), i, i+1), 0, server)
	}
}

// watch closes the connections of servers that no longer answer.
func (lb *loadBalancer) watch(ctx context.Context) {
	failures := map[string]int{}
	for sleep(ctx, checkInterval) == nil {
		lb.mu.Lock()
		used := map[string]bool{}
		for _, s := range lb.conns {
			used[s] = true
		}
		lb.mu.Unlock()
		for s := range used {
			conn, err := net.DialTimeout("tcp", s, checkTimeout)
			if err == nil {
				conn.Close()
				delete(failures, s)
				continue
			}
			if failures[s]++; failures[s] >= 2 {
				log.Warnf("Load balancer: %s does not answer; going on with other servers: %v", s, err)
				lb.drop(s)
				delete(failures, s)
			}
		}
	}
}

// drop closes the connections of a server and puts it last.
func (lb *loadBalancer) drop(server string) {
	lb.mu.Lock()
	defer lb.mu.Unlock()
	for conn, s := range lb.conns {
		if s == server {
			conn.Close()
		}
	}
	if i := slices.Index(lb.servers, server); i >= 0 {
		lb.servers = append(slices.Delete(slices.Clone(lb.servers), i, i+1), server)
	}
}

func (lb *loadBalancer) forward(ctx context.Context, client net.Conn) {
	defer client.Close()
	server, address, err := lb.dial(ctx)
	if err != nil {
		log.Debugf("Load balancer: %v", err)
		return
	}
	defer server.Close()
	lb.mu.Lock()
	lb.conns[server] = address
	lb.mu.Unlock()
	defer func() {
		lb.mu.Lock()
		delete(lb.conns, server)
		lb.mu.Unlock()
	}()
	var done sync.WaitGroup
	for _, pair := range [][2]*net.TCPConn{
		{client.(*net.TCPConn), server.(*net.TCPConn)}, {server.(*net.TCPConn), client.(*net.TCPConn)},
	} {
		done.Add(1)
		go func() {
			defer done.Done()
			_, _ = io.Copy(pair[0], pair[1]) // the other side sees the end as a closed connection
			_ = pair[0].CloseWrite()
		}()
	}
	done.Wait()
}
