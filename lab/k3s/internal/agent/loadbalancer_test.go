package agent

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// greeter is a server that says its name and keeps the connection.
func greeter(t *testing.T, name string) (address string, stop func()) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprintln(conn, name) // and never closes: a machine without power does not either
		}
	}()
	t.Cleanup(func() { l.Close() })
	return l.Addr().String(), func() { l.Close() }
}

func greeting(t *testing.T, port int) (string, net.Conn) {
	t.Helper()
	conn, err := net.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	name, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return "", conn
	}
	return name[:len(name)-1], conn
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func TestAgentOutlivesItsFirstServer(t *testing.T) {
	one, stopOne := greeter(t, "one")
	two, _ := greeter(t, "two")
	file := filepath.Join(t.TempDir(), "lb.json")
	lb := newLoadBalancer("https://one:6443", one, file)
	port := freePort(t)
	if err := lb.start(t.Context(), port); err != nil {
		t.Fatal(err)
	}
	if err := lb.set([]string{one, two}); err != nil {
		t.Fatal(err)
	}
	name, old := greeting(t, port)
	if name != "one" {
		t.Fatalf("%q answers, not the configured server", name)
	}
	stopOne()
	if name, _ := greeting(t, port); name != "two" {
		t.Errorf("%q answers after the first server's end", name)
	}
	// The connection from before is open at both ends; the balancer must notice and close it.
	_ = old.SetReadDeadline(time.Now().Add(4 * checkInterval))
	if _, err := old.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the stopped server's connection stays open: %v", err)
	}
}

func TestServersAreRemembered(t *testing.T) {
	two, _ := greeter(t, "two")
	gone, stop := greeter(t, "gone")
	stop()
	file := filepath.Join(t.TempDir(), "lb.json")
	lb := newLoadBalancer("https://one:6443", gone, file)
	if err := lb.set([]string{gone, two}); err != nil {
		t.Fatal(err)
	}
	if err := lb.set(nil); err != nil || len(lb.servers) != 2 {
		t.Error("an empty answer removes the servers", err)
	}
	// The agent starts again while the configured server is off.
	again := newLoadBalancer("https://one:6443", gone, file)
	conn, server, err := again.dial(context.Background())
	if err != nil || server != two {
		t.Fatalf("%q, %v", server, err)
	}
	conn.Close()
	if other := newLoadBalancer("https://other:6443", gone, file); slices.Contains(other.servers, two) {
		t.Error("another cluster's servers are remembered")
	}
	// A server that was removed from the cluster is not tried, but the configured one is tried in the end.
	if err := again.set([]string{gone}); err != nil || slices.Contains(again.servers, two) {
		t.Error(again.servers, err)
	}
}
