// Package encryption keeps the key with which the API server encrypts Secrets, in the files that k3s has for it.
//
// They belong to the bootstrap data: a cluster that is created with secrets-encryption has them in its datastore. On a
// cluster that was created without, each server makes a key of its own that nothing else knows, as k3s's do: that is
// no way to switch encryption on.
package encryption

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiserver "k8s.io/apiserver/pkg/apis/apiserver/v1"

	"edge-ai/lab/k3s/internal/bootstrap"
	"edge-ai/lab/k3s/internal/config"
	"edge-ai/lab/k3s/internal/files"
)

// Annotation on a server's Node says which configuration that server uses, and how far a change of it has come.
const Annotation = "k3s.io/encryption-config-hash"

// stageStart is the state of a cluster whose key was never changed; this build knows no other.
const stageStart = "start"

const keySize = 32 // bytes, of both ciphers

// ConfigFile is what kube-apiserver reads.
func ConfigFile(serverDir string) string {
	return filepath.Join(serverDir, bootstrap.EncryptionConfigFile)
}

// Ensure makes a key when there is none; one that is there stays, whatever its provider.
func Ensure(serverDir, provider string) error {
	file := ConfigFile(serverDir)
	if info, err := os.Stat(file); err == nil && info.Size() > 0 {
		return nil
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	secret := make([]byte, keySize)
	_, _ = rand.Read(secret) // never fails since Go 1.24
	keys := []apiserver.Key{{Name: provider + "key", Secret: base64.StdEncoding.EncodeToString(secret)}}
	var first apiserver.ProviderConfiguration
	switch provider {
	case "aescbc":
		first.AESCBC = &apiserver.AESConfiguration{Keys: keys}
	case "secretbox":
		first.Secretbox = &apiserver.SecretboxConfiguration{Keys: keys}
	default:
		return fmt.Errorf("%q is not one of %s", provider, strings.Join(config.EncryptionProviders, ", "))
	}
	text, err := json.Marshal(apiserver.EncryptionConfiguration{
		TypeMeta: metav1.TypeMeta{Kind: "EncryptionConfiguration", APIVersion: "apiserver.config.k8s.io/v1"},
		Resources: []apiserver.ResourceConfiguration{{
			Resources: []string{"secrets"},
			// The last one reads what was written before.
			Providers: []apiserver.ProviderConfiguration{first, {Identity: &apiserver.IdentityConfiguration{}}},
		}},
	})
	if err != nil {
		return err
	}
	if err := files.Write(file, text, 0o600); err != nil {
		return err
	}
	return files.Write(filepath.Join(serverDir, bootstrap.EncryptionStateFile), []byte(stageStart+"-"+hash(text)), 0o600)
}

func hash(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// Status is the answer of /v1-k3s/encrypt/status, with k3s's names.
type Status struct {
	Stage        string   `json:"stage"`
	ActiveKey    string   `json:"activekey"`
	Enable       *bool    `json:"enable,omitempty"`
	HashMatch    bool     `json:"hashmatch,omitempty"`
	HashError    string   `json:"hasherror,omitempty"`
	InactiveKeys []string `json:"inactivekeys,omitempty"`
}

// State is the annotation of this server's Node, empty without encryption.
func State(serverDir string) (string, error) {
	text, err := os.ReadFile(filepath.Join(serverDir, bootstrap.EncryptionStateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return string(text), err
}

// Look compares this server's configuration with the annotations of all servers' Nodes, by their names.
func Look(serverDir string, nodes map[string]string) (Status, error) {
	text, err := os.ReadFile(ConfigFile(serverDir))
	if errors.Is(err, fs.ErrNotExist) {
		return Status{}, nil
	}
	if err != nil {
		return Status{}, err
	}
	var present apiserver.EncryptionConfiguration
	if err := json.Unmarshal(text, &present); err != nil {
		return Status{}, fmt.Errorf("%s: %w", ConfigFile(serverDir), err)
	}
	if len(present.Resources) == 0 || len(present.Resources[0].Providers) == 0 {
		return Status{}, fmt.Errorf("%s: no providers", ConfigFile(serverDir))
	}
	state, err := State(serverDir)
	if err != nil {
		return Status{}, err
	}
	status := Status{HashMatch: true}
	status.Stage, _, _ = strings.Cut(state, "-")
	enabled := present.Resources[0].Providers[0].Identity == nil
	status.Enable = &enabled
	for _, p := range present.Resources[0].Providers {
		if p.AESCBC != nil {
			status.add("AES-CBC", p.AESCBC.Keys, enabled)
		}
		if p.Secretbox != nil {
			status.add("XSalsa20-POLY1305", p.Secretbox.Keys, enabled)
		}
	}
	for name, annotation := range nodes {
		switch _, other, _ := strings.Cut(annotation, "-"); {
		case annotation == "":
			status.HashMatch, status.HashError = false, fmt.Sprintf("missing annotation on node %s", name)
		case other != hash(text):
			status.HashMatch, status.HashError = false, fmt.Sprintf("hash does not match between %s and this server", name)
		}
	}
	return status, nil
}

func (s *Status) add(kind string, keys []apiserver.Key, enabled bool) {
	for _, k := range keys {
		if name := kind + " " + k.Name; s.ActiveKey == "" && enabled {
			s.ActiveKey = name
		} else {
			s.InactiveKeys = append(s.InactiveKeys, name)
		}
	}
}
