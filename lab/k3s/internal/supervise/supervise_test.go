package supervise

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// buffer is a log that several children may write to.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("waited for: %s", what)
}

func shell(name, script string, phase int) Component {
	return Component{Name: name, Path: "/bin/sh", Args: []string{"-c", script}, Phase: phase}
}

func TestDeadChildIsStartedAgain(t *testing.T) {
	dir := t.TempDir()
	var log buffer
	g := NewGroup(&log)
	defer g.Stop()
	// Ends at its first start only.
	g.Start(shell("flaky", "cd "+dir+"; if [ -e once ]; then echo second life; exec sleep 60; fi; touch once; echo last words; exit 3", 0))
	eventually(t, "the second life", func() bool { return strings.Contains(log.String(), "flaky: second life") })
	if !strings.Contains(log.String(), "flaky: last words") || !strings.Contains(log.String(), "flaky ended (exit status 3)") {
		t.Errorf("the log does not show the failure:\n%s", log.String())
	}
}

func TestSomeFailuresAreFinal(t *testing.T) {
	var log buffer
	g := NewGroup(&log)
	defer g.Stop()
	c := shell("removed", "echo no longer wanted; exit 0", 0)
	c.Fatal = func(lastLines string) error {
		if strings.Contains(lastLines, "no longer wanted") {
			return errors.New("give up")
		}
		return nil
	}
	g.Start(c)
	select {
	case err := <-g.Failed():
		if err.Error() != "give up" {
			t.Errorf("got %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the group does not fail")
	}
}

func TestStopGoesByPhase(t *testing.T) {
	var log buffer
	g := NewGroup(&log)
	script := "trap 'echo gone; exit 0' TERM; echo up; while :; do sleep 0.05; done"
	g.Start(shell("last", script, 2))
	g.Start(shell("first", script, 1))
	eventually(t, "both children", func() bool { return strings.Count(log.String(), ": up") == 2 })
	g.Stop()
	first, last := strings.Index(log.String(), "first: gone"), strings.Index(log.String(), "last: gone")
	if first < 0 || last < first {
		t.Errorf("order of the end:\n%s", log.String())
	}
}

func TestChildrenDoNotReportReadiness(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "/run/systemd/notify")
	for _, e := range childEnv() {
		if strings.HasPrefix(e, "NOTIFY_SOCKET=") {
			t.Error("children get the socket")
		}
	}
	if os.Getenv("NOTIFY_SOCKET") == "" {
		t.Error("the main process lost the socket")
	}
}
