// Package bootstrap handles what makes a server one of its cluster: the keys of the cluster's CAs, the passwords of its
// tokens and the key that encrypts its Secrets.
//
// The first server makes them. They are kept in the datastore, encrypted with the cluster's token, so that a snapshot
// and that token are enough to restore; other servers get them from a server that runs. At each start files and
// datastore are compared, as k3s does it: what is newer in the datastore is written to disk; a file that is newer than
// the datastore ends the start.
package bootstrap

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	log "github.com/sirupsen/logrus"

	"edge-ai/lab/k3s/internal/files"
)

const (
	saltSize   = 16
	keySize    = 32
	iterations = 100_000 // 50 ms on a Pi 4; the default token has 128 random bits anyway

	// skew is how much newer, in whole seconds, a file must be than the datastore's copy to be called newer.
	skew = 3
)

// cas are the authorities under <data>/server/tls, each with a .crt and a .key. With SQLite there are none of etcd.
var cas = []string{"server-ca", "client-ca", "request-header-ca", "etcd/server-ca", "etcd/peer-ca"}

// Names of files in <data>/server that not only CAs need.
const (
	PasswdFile           = "cred/passwd"
	EncryptionConfigFile = "cred/encryption-config.json"
	EncryptionStateFile  = "cred/encryption-state.json"
)

// Files are the names of all files that there can be, relative to <data>/server.
func Files() []string {
	names := []string{"tls/service.key", PasswdFile, EncryptionConfigFile, EncryptionStateFile}
	for _, ca := range cas {
		names = append(names, "tls/"+ca+".crt", "tls/"+ca+".key")
	}
	return names
}

// optional reports whether a cluster can be without a file.
func optional(name string) bool {
	return strings.HasPrefix(name, "tls/etcd/") || strings.HasPrefix(name, "cred/")
}

// File is the content of one file and the time of its last change.
type File struct {
	Timestamp time.Time
	Content   []byte
}

// Data holds files by their names.
type Data map[string]File

// Read collects the files of a server.
func Read(serverDir string) (Data, error) {
	d := Data{}
	for _, name := range Files() {
		file := filepath.Join(serverDir, name)
		content, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) && optional(name) {
			continue
		}
		if err != nil {
			return nil, err
		}
		info, err := os.Stat(file)
		if err != nil {
			return nil, err
		}
		d[name] = File{info.ModTime(), content}
	}
	return d, nil
}

// check refuses data that lacks a file which every cluster has.
func (d Data) check() error {
	for _, name := range Files() {
		if len(d[name].Content) == 0 && !optional(name) {
			return fmt.Errorf("bootstrap data lacks %s", name)
		}
	}
	return nil
}

// names are those of the files in the data that this version knows; others are never written.
func (d Data) names() []string {
	return slices.DeleteFunc(Files(), func(name string) bool {
		_, found := d[name]
		return !found
	})
}

// Write puts all files in place, with their times.
func (d Data) Write(serverDir string) error {
	if err := d.check(); err != nil {
		return err
	}
	for _, name := range d.names() {
		file := filepath.Join(serverDir, name)
		mode := fs.FileMode(0o600)
		if strings.HasSuffix(name, ".crt") {
			mode = 0o644
		}
		if err := files.Write(file, d[name].Content, mode); err != nil {
			return err
		}
		if err := os.Chtimes(file, d[name].Timestamp, d[name].Timestamp); err != nil {
			return err
		}
	}
	return nil
}

// Differ gives the files on disk whose content is another one; absent files do not count.
func (d Data) Differ(serverDir string) ([]string, error) {
	differ, _, err := d.compare(serverDir)
	return differ, err
}

// compare gives the files of another content and whether one is absent.
func (d Data) compare(serverDir string) (differ []string, absent bool, err error) {
	for _, name := range d.names() {
		file := filepath.Join(serverDir, name)
		content, err := os.ReadFile(file)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			absent = true
		case err != nil:
			return nil, false, err
		case string(content) != string(d[name].Content):
			differ = append(differ, name)
		}
	}
	return differ, absent, nil
}

// Reconcile brings the files of a server to the state of the datastore. A file of another content that is at least
// three seconds newer than the datastore's copy is an error, in k3s's words, and nothing is changed. With reset the
// datastore wins, and what was in tls is kept as tls-<Unix time of now>.
func (d Data) Reconcile(serverDir string, reset bool, now time.Time) error {
	if err := d.check(); err != nil {
		return err
	}
	for _, dir := range []string{"cred", "tls"} {
		if entries, err := os.ReadDir(filepath.Join(serverDir, dir)); err != nil || len(entries) == 0 {
			return d.Write(serverDir) // as a new server gets them
		}
	}
	differ, update, err := d.compare(serverDir)
	if err != nil {
		return err
	}
	if reset && len(differ) > 0 {
		backup := filepath.Join(serverDir, fmt.Sprintf("tls-%d", now.Unix()))
		log.Infof("Cluster reset: backing up certificates directory to %s", backup)
		if err := os.CopyFS(backup, os.DirFS(filepath.Join(serverDir, "tls"))); err != nil {
			return err
		}
	}
	var newer []string
	for _, name := range differ {
		file := filepath.Join(serverDir, name)
		info, err := os.Stat(file)
		if err != nil {
			return err
		}
		switch {
		case info.ModTime().Unix()-d[name].Timestamp.Unix() < skew:
			log.Warnf("Datastore newer than %s", file)
			update = true
		case reset:
			log.Infof("Cluster reset: replacing file on disk: %s", file)
			update = true
		default:
			newer = append(newer, file)
		}
	}
	if len(newer) > 0 {
		return fmt.Errorf("%s newer than datastore and could cause a cluster outage. Remove the file(s) from disk and "+
			"restart to be recreated from datastore.", strings.Join(newer, ", "))
	}
	if !update {
		return nil
	}
	log.Warn("Updating bootstrap data on disk from datastore")
	return d.Write(serverDir)
}

// Seal encrypts with a key derived from the password: salt, nonce and ciphertext (AES-256-GCM) one after another.
func (d Data) Seal(password string) ([]byte, error) {
	if err := d.check(); err != nil {
		return nil, err
	}
	plain, err := json.Marshal(d)
	if err != nil {
		return nil, err
	}
	salt := make([]byte, saltSize)
	_, _ = rand.Read(salt) // never fails since Go 1.24
	box, err := newBox(password, salt)
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, box.NonceSize())
	_, _ = rand.Read(nonce)
	return box.Seal(append(salt, nonce...), nonce, plain, nil), nil
}

// Open decrypts what Seal made.
func Open(sealed []byte, password string) (Data, error) {
	if len(sealed) < saltSize {
		return nil, errors.New("bootstrap data is too short")
	}
	box, err := newBox(password, sealed[:saltSize])
	if err != nil {
		return nil, err
	}
	rest := sealed[saltSize:]
	if len(rest) < box.NonceSize() {
		return nil, errors.New("bootstrap data is too short")
	}
	plain, err := box.Open(nil, rest[:box.NonceSize()], rest[box.NonceSize():], nil)
	if err != nil {
		return nil, ErrOtherToken
	}
	d, err := decode(plain)
	if err != nil {
		return nil, err
	}
	return d, d.check()
}

// decode also reads the form of the first lab builds, which held the CAs alone and no times.
func decode(plain []byte) (Data, error) {
	var d Data
	if err := json.Unmarshal(plain, &d); err == nil {
		return d, nil
	}
	var old map[string]string
	if err := json.Unmarshal(plain, &old); err != nil {
		return nil, err
	}
	d = Data{}
	for name, text := range old {
		d["tls/"+name] = File{Content: []byte(text)}
	}
	return d, nil
}

func newBox(password string, salt []byte) (cipher.AEAD, error) {
	key, err := pbkdf2.Key(sha256.New, password, salt, iterations, keySize)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// Key is the datastore's key for data sealed with this password.
func Key(password string) string {
	sum := sha256.Sum256([]byte(password))
	return Prefix + hex.EncodeToString(sum[:])[:12]
}
