// Package nodepassword keeps a node's password on its disk, and its hash for the server.
//
// The first node that registers under a name sets the name's password; whoever comes with another one is refused.
package nodepassword

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/crypto/scrypt"

	"edge-ai/lab/k3s/internal/files"
	"edge-ai/lab/k3s/internal/token"
)

// Dir is where a node keeps its password and id: outside the data directory, so that it outlives a reinstallation.
const Dir = "/etc/rancher/node"

// Ensure reads dir/password, making it (32 hexadecimal digits) when absent.
func Ensure(dir string) (string, error) {
	return ensure(dir, "password", 16, 0o600)
}

// EnsureID reads dir/id, making it (8 hexadecimal digits) when absent; with-node-id appends it to the node's name.
func EnsureID(dir string) (string, error) {
	return ensure(dir, "id", 4, 0o644)
}

func ensure(dir, name string, bytes int, mode fs.FileMode) (string, error) {
	file := filepath.Join(dir, name)
	data, err := os.ReadFile(file)
	if err == nil {
		if value := strings.TrimSpace(string(data)); value != "" {
			return value, nil
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	value := token.Random(bytes)
	return value, files.Write(file, []byte(value+"\n"), mode)
}

// scrypt's cost as an exponent of two: about 60 ms on one core of a Pi 5, and 32 MB for that time.
const costExponent = 15

// Hash gives the form that is stored: $1:<salt>:<exponent>:<r>:<p>:<key>.
func Hash(password string) (string, error) {
	salt := make([]byte, 8)
	_, _ = rand.Read(salt) // never fails since Go 1.24
	key, err := scrypt.Key([]byte(password), salt, 1<<costExponent, 8, 1, 64)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("$1:%s:%d:8:1:%s", hex.EncodeToString(salt), costExponent, base64.RawStdEncoding.EncodeToString(key)), nil
}

// Verify returns nil if the password belongs to the hash.
func Verify(hash, password string) error {
	parts := strings.Split(hash, ":")
	if len(parts) != 6 || parts[0] != "$1" {
		return errors.New("unknown form of password hash")
	}
	var n [3]int
	for i := range n {
		v, err := strconv.Atoi(parts[2+i])
		if err != nil {
			return errors.New("unknown form of password hash")
		}
		n[i] = v
	}
	if n[0] < 1 || n[0] > 20 {
		return errors.New("cost of password hash out of range")
	}
	salt, err := hex.DecodeString(parts[1])
	if err != nil {
		return err
	}
	want, err := base64.RawStdEncoding.DecodeString(parts[5])
	if err != nil {
		return err
	}
	got, err := scrypt.Key([]byte(password), salt, 1<<n[0], n[1], n[2], len(want))
	if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare(got, want) != 1 {
		return errors.New("password does not match")
	}
	return nil
}
