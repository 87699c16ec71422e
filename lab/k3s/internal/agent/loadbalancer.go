package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	log "github.com/sirupsen/logrus"
)

const dialTimeout = 5 * time.Second

// loadBalancer forwards TCP from 127.0.0.1:6444 to the first server that answers, so that kubelet and kube-proxy
// need not know which server lives.
type loadBalancer struct {
	mu      sync.Mutex
	servers []string // host:port; the last one that answered comes first
}

// startLoadBalancer listens on the loopback port and forwards until ctx ends.
func startLoadBalancer(ctx context.Context, port int, servers ...string) (*loadBalancer, error) {
	lb := &loadBalancer{servers: servers}
	listener, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return nil, fmt.Errorf("load balancer: %w", err)
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
			go lb.forward(conn.(*net.TCPConn))
		}
	}()
	log.Infof("Running load balancer 127.0.0.1:%d -> %v", port, servers)
	return lb, nil
}

// add appends servers that are not known yet.
func (lb *loadBalancer) add(servers []string) {
	lb.mu.Lock()
	defer lb.mu.Unlock()
	for _, s := range servers {
		if !slices.Contains(lb.servers, s) {
			log.Infof("Adding server to load balancer: %s", s)
			lb.servers = append(lb.servers, s)
		}
	}
}

func (lb *loadBalancer) dial() (*net.TCPConn, error) {
	lb.mu.Lock()
	servers := slices.Clone(lb.servers)
	lb.mu.Unlock()
	var errs []error
	for _, s := range servers {
		conn, err := net.DialTimeout("tcp", s, dialTimeout)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		lb.mu.Lock()
		if i := slices.Index(lb.servers, s); i > 0 {
			lb.servers = slices.Insert(slices.Delete(lb.servers, i, i+1), 0, s)
		}
		lb.mu.Unlock()
		return conn.(*net.TCPConn), nil
	}
	return nil, errors.Join(errs...)
}

func (lb *loadBalancer) forward(client *net.TCPConn) {
	defer client.Close()
	server, err := lb.dial()
	if err != nil {
		log.Debugf("Load balancer: %v", err)
		return
	}
	defer server.Close()
	var done sync.WaitGroup
	for _, pair := range [][2]*net.TCPConn{{client, server}, {server, client}} {
		done.Add(1)
		go func() {
			defer done.Done()
			_, _ = io.Copy(pair[0], pair[1]) // the other side sees the end as a closed connection
			_ = pair[0].CloseWrite()
		}()
	}
	done.Wait()
}
