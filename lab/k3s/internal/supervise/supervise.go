// Package supervise runs components as child processes: it restarts what ends, and reports when it gives up.
//
// Children are this very program under another argv[0]. They end with the main process, whatever ends it
// (parent-death signal); what containerd starts (shims, pods) does not belong to them and keeps running.
package supervise

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Limits of the restart policy.
const (
	firstDelay = time.Second
	maxDelay   = 16 * time.Second
	// A component that lived this long is healthy: earlier failures no longer count.
	healthyAfter = 2 * time.Minute
	maxFailures  = 6
	stopTimeout  = 5 * time.Second
	tailLines    = 15
)

// Component is one child process.
type Component struct {
	Name string
	// Path is the program; empty means this one, started as Name.
	Path string
	Args []string
	Env  []string
	// Phase orders the stop: lower phases end first.
	Phase int
	// Fatal reads the last lines of a child that ended; an error means that starting it again is of no use.
	Fatal func(lastLines string) error
}

// Group is the set of children of one main process.
type Group struct {
	log io.Writer

	mu       sync.Mutex
	children []*child
	stopping bool
	failed   chan error
}

type child struct {
	Component
	mu   sync.Mutex
	proc *os.Process
	tail []string
	done chan struct{} // closed when the child will not be started again
}

// NewGroup makes an empty group that writes log lines, prefixed with the component's name, to log.
func NewGroup(log io.Writer) *Group {
	return &Group{log: log, failed: make(chan error, 1)}
}

// Failed yields an error when a component ended too often.
func (g *Group) Failed() <-chan error { return g.failed }

// Start runs a component until Stop.
func (g *Group) Start(c Component) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stopping {
		return
	}
	ch := &child{Component: c, done: make(chan struct{})}
	g.children = append(g.children, ch)
	go g.keep(ch)
}

func (g *Group) keep(ch *child) {
	// The parent-death signal is tied to the thread that forked, so that thread must stay.
	runtime.LockOSThread()
	defer close(ch.done)
	delay := firstDelay
	for failures := 0; ; {
		started := time.Now()
		err := g.runOnce(ch)
		if g.isStopping() {
			return
		}
		if time.Since(started) > healthyAfter {
			failures, delay = 0, firstDelay
		}
		failures++
		if ch.Fatal != nil {
			if err := ch.Fatal(ch.lastLines()); err != nil {
				g.fail(err)
				return
			}
		}
		fmt.Fprintf(g.log, "k3s: %s ended (%v) after %s; failure %d of at most %d\n", ch.Name, err,
			time.Since(started).Round(time.Second), failures, maxFailures)
		if failures >= maxFailures {
			g.fail(fmt.Errorf("%s ended %d times in a row, last with: %v; its last lines:\n%s", ch.Name, failures, err, ch.lastLines()))
			return
		}
		time.Sleep(delay)
		delay = min(2*delay, maxDelay)
		if g.isStopping() {
			return
		}
	}
}

// fail reports the first failure; who reads it ends everything.
func (g *Group) fail(err error) {
	select {
	case g.failed <- err:
	default:
	}
}

func (g *Group) runOnce(ch *child) error {
	path := ch.Path
	if path == "" {
		path = "/proc/self/exe" // the running program, even when the file was replaced meanwhile
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	cmd := &exec.Cmd{
		Path:        path,
		Args:        append([]string{ch.Name}, ch.Args...),
		Env:         append(childEnv(), ch.Env...),
		Stdout:      w,
		Stderr:      w,
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL},
	}
	ch.mu.Lock()
	if err := cmd.Start(); err != nil {
		ch.mu.Unlock()
		r.Close()
		w.Close()
		return err
	}
	ch.proc = cmd.Process
	ch.mu.Unlock()
	w.Close()
	read := make(chan struct{})
	go func() {
		defer close(read)
		ch.copyLog(r, g.log)
	}()
	err = cmd.Wait()
	ch.mu.Lock()
	ch.proc = nil
	ch.mu.Unlock()
	select { // a grandchild may hold the pipe open indefinitely
	case <-read:
	case <-time.After(time.Second):
	}
	if err == nil {
		return fmt.Errorf("exit status 0")
	}
	return err
}

// childEnv is the environment without systemd's socket: only the main process reports readiness.
func childEnv() []string {
	return slices.DeleteFunc(os.Environ(), func(e string) bool {
		return strings.HasPrefix(e, "NOTIFY_SOCKET=") || strings.HasPrefix(e, "K3S_TOKEN=") || strings.HasPrefix(e, "K3S_AGENT_TOKEN=")
	})
}

func (ch *child) copyLog(r io.ReadCloser, to io.Writer) {
	defer r.Close()
	reader := bufio.NewReaderSize(r, 16<<10)
	for {
		line, err := reader.ReadSlice('\n')
		if text := strings.TrimRight(string(line), "\n"); text != "" {
			fmt.Fprintf(to, "%s: %s\n", ch.Name, text)
			ch.mu.Lock()
			if ch.tail = append(ch.tail, text); len(ch.tail) > tailLines {
				ch.tail = slices.Clone(ch.tail[1:])
			}
			ch.mu.Unlock()
		}
		if err != nil && err != bufio.ErrBufferFull {
			return
		}
	}
}

func (ch *child) lastLines() string {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	return "  " + strings.Join(ch.tail, "\n  ")
}

func (ch *child) signal(s syscall.Signal) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if ch.proc != nil {
		_ = ch.proc.Signal(s) // it may have ended this moment
	}
}

func (g *Group) isStopping() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.stopping
}

// Stop ends all children, phase by phase; one that does not end in time is killed.
func (g *Group) Stop() {
	g.mu.Lock()
	g.stopping = true
	children := slices.Clone(g.children)
	g.mu.Unlock()
	slices.SortStableFunc(children, func(a, b *child) int { return a.Phase - b.Phase })
	for len(children) > 0 {
		n := 1
		for n < len(children) && children[n].Phase == children[0].Phase {
			n++
		}
		stopPhase(children[:n])
		children = children[n:]
	}
}

func stopPhase(children []*child) {
	for _, ch := range children {
		ch.signal(syscall.SIGTERM)
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	for _, ch := range children {
		select {
		case <-ch.done:
			continue
		case <-ctx.Done():
			ch.signal(syscall.SIGKILL)
		}
		select {
		case <-ch.done:
		case <-time.After(maxDelay): // it is waiting to be started again, and then will not be
		}
	}
}
