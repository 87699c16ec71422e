// Package images imports archives of container images into containerd.
package images

import (
	"compress/bzip2"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/platforms"
	"github.com/klauspost/compress/zstd"
	log "github.com/sirupsen/logrus"

	"edge-ai/lab/k3s/internal/files"
)

// labels let the kubelet see an image and keep its garbage collection away from it.
var labels = map[string]string{"io.cri-containerd.image": "managed", "io.cri-containerd.pinned": "pinned"}

const cacheFile = ".cache.json"

// stamp records whether an archive changed since it was imported, and which images it brought.
type stamp struct {
	Size     int64     `json:"size"`
	Modified time.Time `json:"modified"`
	Images   []string  `json:"images"`
}

// Import brings every archive of dir into containerd. One that was imported before, has the same size and time,
// and whose images are all still there, is skipped. An archive that cannot be imported is an error of its own; the
// others are still imported.
func Import(ctx context.Context, socket, dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var archives []fs.FileInfo
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || info.IsDir() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		if strings.HasSuffix(e.Name(), ".txt") {
			log.Warnf("Skipping %s: this lab build does not pull images by list", filepath.Join(dir, e.Name()))
			continue
		}
		archives = append(archives, info)
	}
	if len(archives) == 0 {
		return nil
	}
	c, err := client.New(socket, client.WithDefaultNamespace("k8s.io"), client.WithTimeout(10*time.Second))
	if err != nil {
		return err
	}
	defer c.Close()

	cache := map[string]stamp{}
	file := filepath.Join(dir, cacheFile)
	if data, err := os.ReadFile(file); err == nil {
		if err := json.Unmarshal(data, &cache); err != nil {
			log.Warnf("Ignoring %s: %v", file, err)
		}
	}
	var errs []error
	fresh := map[string]stamp{}
	for _, info := range archives {
		name := info.Name()
		if old, ok := cache[name]; ok && old.Size == info.Size() && old.Modified.Equal(info.ModTime()) && present(ctx, c, old.Images) {
			fresh[name] = old
			continue
		}
		start := time.Now()
		brought, err := importArchive(ctx, c, filepath.Join(dir, name))
		if err != nil {
			errs = append(errs, fmt.Errorf("importing %s: %w", filepath.Join(dir, name), err))
			continue
		}
		fresh[name] = stamp{Size: info.Size(), Modified: info.ModTime(), Images: brought}
		log.Infof("Imported images from %s in %s: %s", filepath.Join(dir, name), time.Since(start).Round(time.Millisecond), strings.Join(brought, " "))
	}
	data, err := json.MarshalIndent(fresh, "", "  ")
	if err != nil {
		return err
	}
	if err := files.Write(file, data, 0o600); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func present(ctx context.Context, c *client.Client, names []string) bool {
	for _, n := range names {
		if _, err := c.ImageService().Get(ctx, n); err != nil {
			return false
		}
	}
	return len(names) > 0
}

func importArchive(ctx context.Context, c *client.Client, file string) ([]string, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r, err := decompress(file, f)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	ctx, done, err := c.WithLease(ctx, leases.WithRandomID(), leases.WithExpiration(time.Hour))
	if err != nil {
		return nil, err
	}
	defer func() { _ = done(context.WithoutCancel(ctx)) }()
	platform := platforms.DefaultStrict()
	imported, err := c.Import(ctx, r, client.WithImportPlatform(platform), client.WithSkipMissing(), client.WithImageLabels(labels))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, i := range imported {
		image := client.NewImageWithPlatform(c, i, platform)
		if err := image.Unpack(ctx, ""); err != nil {
			return nil, fmt.Errorf("unpacking %s: %w", i.Name, err)
		}
		names = append(names, i.Name)
	}
	return names, nil
}

// decompress chooses by the file's name, as k3s does.
func decompress(name string, r io.Reader) (io.ReadCloser, error) {
	switch {
	case strings.HasSuffix(name, ".tar"):
		return io.NopCloser(r), nil
	case strings.HasSuffix(name, ".tar.gz"), strings.HasSuffix(name, ".tgz"):
		return gzip.NewReader(r)
	case strings.HasSuffix(name, ".tar.zst"), strings.HasSuffix(name, ".tzst"):
		z, err := zstd.NewReader(r)
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	case strings.HasSuffix(name, ".tar.bz2"), strings.HasSuffix(name, ".tbz"):
		return io.NopCloser(bzip2.NewReader(r)), nil
	}
	return nil, errors.New("unknown kind of file; .tar, .tar.gz, .tar.zst and .tar.bz2 are known")
}
