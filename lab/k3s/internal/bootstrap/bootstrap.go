// Package bootstrap handles what makes a server one of its cluster: the keys of the cluster's CAs.
//
// The first server makes them. They are kept in the datastore, encrypted with the cluster's token, so that a snapshot
// and that token are enough to restore; other servers get them from a server that runs.
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
	"strings"

	"edge-ai/lab/k3s/internal/certs"
)

// Prefix is where the datastore keeps the sealed data; the rest of the key is derived from the token.
const Prefix = "/bootstrap/"

// ErrOtherToken is what k3s says of a token that is not the one the data was sealed with.
var ErrOtherToken = errors.New("bootstrap data already found and encrypted with different token")

const (
	saltSize   = 16
	keySize    = 32
	iterations = 100_000 // 50 ms on a Pi 4; the default token has 128 random bits anyway
)

// cas are the authorities under <data>/server/tls, each with a .crt and a .key.
var cas = []string{"server-ca", "client-ca", "request-header-ca", "etcd/server-ca", "etcd/peer-ca"}

// Files are the names of all files, relative to <data>/server/tls.
func Files() []string {
	names := []string{"service.key"}
	for _, ca := range cas {
		names = append(names, ca+".crt", ca+".key")
	}
	return names
}

// Data is the content of each of Files.
type Data map[string]string

// Read collects the files of a server; all must be there.
func Read(tlsDir string) (Data, error) {
	d := Data{}
	for _, name := range Files() {
		text, err := os.ReadFile(filepath.Join(tlsDir, name))
		if err != nil {
			return nil, err
		}
		d[name] = string(text)
	}
	return d, nil
}

// check refuses data that lacks a file or has another.
func (d Data) check() error {
	for _, name := range Files() {
		if d[name] == "" {
			return fmt.Errorf("bootstrap data lacks %s", name)
		}
	}
	if len(d) != len(Files()) {
		return errors.New("bootstrap data has files that this version does not know")
	}
	return nil
}

// Write puts the files in place. A file that is there with other content is not overwritten: the error says, in k3s's
// words, which it is.
func (d Data) Write(tlsDir string) error {
	if err := d.check(); err != nil {
		return err
	}
	if err := d.Compare(tlsDir); err != nil {
		return err
	}
	for _, name := range Files() {
		file := filepath.Join(tlsDir, name)
		if _, err := os.Stat(file); err == nil {
			continue
		}
		mode := fs.FileMode(0o644)
		if strings.HasSuffix(name, ".key") {
			mode = 0o600
		}
		if err := certs.WriteFile(file, []byte(d[name]), mode); err != nil {
			return err
		}
	}
	return nil
}

// Compare returns an error when a file on disk has another content; absent files do not matter.
func (d Data) Compare(tlsDir string) error {
	var differ []string
	for _, name := range Files() {
		file := filepath.Join(tlsDir, name)
		text, err := os.ReadFile(file)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err == nil && string(text) != d[name] {
			differ = append(differ, file)
		}
	}
	if len(differ) == 0 {
		return nil
	}
	return fmt.Errorf("%s newer than datastore and could cause a cluster outage. Remove the file(s) from disk and "+
		"restart to be recreated from datastore.", strings.Join(differ, ", "))
}

// Key is the datastore's key for data sealed with this password.
func Key(password string) string {
	sum := sha256.Sum256([]byte(password))
	return Prefix + hex.EncodeToString(sum[:])[:12]
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
	var d Data
	if err := json.Unmarshal(plain, &d); err != nil {
		return nil, err
	}
	return d, d.check()
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
