// Package files replaces files and links in one step, so that a reader or a power cut never sees half of one.
package files

import (
	"io/fs"
	"os"
	"path/filepath"

	"github.com/containerd/continuity"
)

// Write replaces a file, and makes its directory when there is none.
func Write(file string, data []byte, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	return continuity.AtomicWriteFile(file, data, mode)
}

// Link makes name a symbolic link to target.
func Link(target, name string) error {
	if old, err := os.Readlink(name); err == nil && old == target {
		return nil
	}
	tmp := filepath.Join(filepath.Dir(name), "."+filepath.Base(name)+".tmp")
	_ = os.Remove(tmp)
	if err := os.Symlink(target, tmp); err != nil {
		return err
	}
	return os.Rename(tmp, name)
}
