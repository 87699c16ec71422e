// Command pack makes the two archives of a build: the programs embedded in k3s, and the airgap images.
//
//	pack bundle OUT.tar.zst FILE...
//	pack images OUT.tar.zst LIST.txt NAME=PROGRAM...
//
// The images are made here because no registry need be reachable: one layer with one static program each, in the OCI
// image layout, with the manifest.json that `docker load` and `podman load` read too. Equal inputs give equal bytes.
package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
)

// epoch is the time stamp of everything.
var epoch = time.Unix(0, 0).UTC()

func main() {
	log.SetFlags(0)
	log.SetPrefix("pack: ")
	if err := run(os.Args[1:]); err != nil {
		log.Fatal(err)
	}
}

func run(args []string) error {
	switch {
	case len(args) >= 3 && args[0] == "bundle":
		return bundle(args[1], args[2:])
	case len(args) >= 4 && args[0] == "images":
		return images(args[1], args[2], args[3:])
	}
	return errors.New("usage: pack bundle OUT.tar.zst FILE... | pack images OUT.tar.zst LIST.txt NAME=PROGRAM...")
}

// writeArchive makes a zstd-compressed tar and lets fill put files into it.
func writeArchive(out string, level zstd.EncoderLevel, fill func(*tar.Writer) error) error {
	f, err := os.Create(out)
	if err != nil {
		return err
	}
	z, err := zstd.NewWriter(f, zstd.WithEncoderLevel(level))
	if err != nil {
		return err
	}
	t := tar.NewWriter(z)
	return errors.Join(fill(t), t.Close(), z.Close(), f.Close())
}

func add(t *tar.Writer, name string, mode int64, data []byte) error {
	header := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(data)), ModTime: epoch}
	if err := t.WriteHeader(header); err != nil {
		return err
	}
	_, err := t.Write(data)
	return err
}

func bundle(out string, files []string) error {
	return writeArchive(out, zstd.SpeedBetterCompression, func(t *tar.Writer) error {
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			if err := add(t, filepath.Base(file), 0o755, data); err != nil {
				return err
			}
		}
		return nil
	})
}

// descriptor is the OCI descriptor.
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// layout gathers an OCI image layout.
type layout struct {
	out   *tar.Writer
	index []descriptor
	// docker is the manifest.json of docker-archive.
	docker []map[string]any
}

func (l *layout) blob(mediaType string, data []byte) (descriptor, error) {
	sum := sha256.Sum256(data)
	d := descriptor{MediaType: mediaType, Digest: "sha256:" + hex.EncodeToString(sum[:]), Size: len(data)}
	return d, add(l.out, blobPath(d), 0o644, data)
}

func (l *layout) jsonBlob(mediaType string, v any) (descriptor, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return descriptor{}, err
	}
	return l.blob(mediaType, data)
}

func blobPath(d descriptor) string { return "blobs/sha256/" + strings.TrimPrefix(d.Digest, "sha256:") }

func (l *layout) image(name, program string) error {
	data, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	entry := filepath.Base(program)
	var layer bytes.Buffer
	t := tar.NewWriter(&layer)
	if err := errors.Join(add(t, entry, 0o755, data), t.Close()); err != nil {
		return err
	}
	layerBlob, err := l.blob("application/vnd.oci.image.layer.v1.tar", layer.Bytes())
	if err != nil {
		return err
	}
	config, err := l.jsonBlob("application/vnd.oci.image.config.v1+json", map[string]any{
		"architecture": runtime.GOARCH,
		"os":           "linux",
		"created":      epoch.Format(time.RFC3339),
		"config":       map[string]any{"Entrypoint": []string{"/" + entry}, "WorkingDir": "/"},
		"rootfs":       map[string]any{"type": "layers", "diff_ids": []string{layerBlob.Digest}},
	})
	if err != nil {
		return err
	}
	manifest, err := l.jsonBlob("application/vnd.oci.image.manifest.v1+json", map[string]any{
		"schemaVersion": 2,
		"mediaType":     "application/vnd.oci.image.manifest.v1+json",
		"config":        config,
		"layers":        []descriptor{layerBlob},
	})
	if err != nil {
		return err
	}
	manifest.Annotations = map[string]string{"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name}
	l.index = append(l.index, manifest)
	l.docker = append(l.docker, map[string]any{
		"Config": blobPath(config), "RepoTags": []string{name}, "Layers": []string{blobPath(layerBlob)},
	})
	return nil
}

func images(out, list string, specs []string) error {
	var names strings.Builder
	err := writeArchive(out, zstd.SpeedDefault, func(t *tar.Writer) error {
		l := &layout{out: t}
		for _, spec := range specs {
			name, program, ok := strings.Cut(spec, "=")
			if !ok {
				return fmt.Errorf("%q is not NAME=PROGRAM", spec)
			}
			if err := l.image(name, program); err != nil {
				return err
			}
			fmt.Fprintln(&names, name)
		}
		index, err := json.Marshal(map[string]any{
			"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": l.index})
		if err != nil {
			return err
		}
		docker, err := json.Marshal(l.docker)
		if err != nil {
			return err
		}
		return errors.Join(
			add(t, "index.json", 0o644, index),
			add(t, "oci-layout", 0o644, []byte(`{"imageLayoutVersion":"1.0.0"}`)),
			add(t, "manifest.json", 0o644, docker))
	})
	if err != nil {
		return err
	}
	return os.WriteFile(list, []byte(names.String()), 0o644)
}
