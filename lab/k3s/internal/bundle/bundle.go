// Package bundle unpacks the programs that cannot live inside the k3s binary: runc, containerd's shim, CNI plugins.
//
// build.sh makes bundle.tar.zst and builds with the tag "bundle"; without the tag there is nothing to unpack,
// which is enough for `go vet` and for tests.
package bundle

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/klauspost/compress/zstd"

	"edge-ai/lab/k3s/internal/files"
)

// Links are the names under which the data directory offers the k3s binary itself.
var Links = []string{"k3s", "containerd", "ctr", "crictl", "etcd", "kine", "kube-apiserver", "kube-controller-manager",
	"kube-scheduler", "kubelet", "kube-proxy", "kubectl"}

// Extract unpacks to dir/<hash>/bin, points dir/current there (and dir/previous to what it was), and returns the bin
// directory. exe is the k3s binary that the links lead to. Two processes at once are kept apart by dir/.lock.
func Extract(dir, exe string) (string, error) {
	if len(archive) == 0 {
		return "", errors.New("this k3s was built without its bundle; use lab/k3s/build.sh")
	}
	sum := sha256.Sum256(archive)
	hash := hex.EncodeToString(sum[:])
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(filepath.Join(dir, ".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", err
	}
	home := filepath.Join(dir, hash)
	bin := filepath.Join(home, "bin")
	if _, err := os.Stat(home); err != nil {
		tmp := home + ".tmp"
		if err := os.RemoveAll(tmp); err != nil {
			return "", err
		}
		if err := unpack(filepath.Join(tmp, "bin")); err != nil {
			return "", fmt.Errorf("unpacking to %s: %w", tmp, err)
		}
		if err := os.Rename(tmp, home); err != nil {
			return "", err
		}
	}
	for _, name := range Links {
		if err := files.Link(exe, filepath.Join(bin, name)); err != nil {
			return "", err
		}
	}
	current := filepath.Join(dir, "current")
	if old, err := os.Readlink(current); err == nil && old != hash && old != home {
		if err := files.Link(old, filepath.Join(dir, "previous")); err != nil {
			return "", err
		}
	}
	return bin, files.Link(home, current)
}

func unpack(bin string) error {
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	z, err := zstd.NewReader(bytes.NewReader(archive))
	if err != nil {
		return err
	}
	defer z.Close()
	for files := tar.NewReader(z); ; {
		h, err := files.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		out, err := os.OpenFile(filepath.Join(bin, filepath.Base(h.Name)), os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o755)
		if err != nil {
			return err
		}
		_, err = io.Copy(out, files)
		if closeErr := out.Close(); err == nil {
			err = closeErr
		}
		if err != nil {
			return err
		}
	}
}
