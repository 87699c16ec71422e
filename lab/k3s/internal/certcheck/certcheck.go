// Package certcheck reports how long the certificates on a machine are still good, and takes them out of use: what
// `k3s certificate` does, and the event that warns of an end.
package certcheck

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	log "github.com/sirupsen/logrus"
	"k8s.io/client-go/util/cert"

	"edge-ai/lab/k3s/internal/certs"
	"edge-ai/lab/k3s/internal/files"
)

// Words of k3s for the state of a certificate.
const (
	OK          = "OK"
	Warning     = "WARNING"
	Expired     = "EXPIRED"
	NotYetValid = "NOT YET VALID"
)

// AgentServices and ServerServices are k3s's names for who uses which certificates.
var (
	AgentServices  = []string{"kube-proxy", "kubelet", "k3s-controller"}
	ServerServices = []string{"api-server", "admin", "auth-proxy", "cloud-controller", "controller-manager", "etcd", "scheduler",
		"supervisor", "k3s-server"}
)

// pairs are certificate and key of each service, relative to the data directory and without .crt and .key. Services
// that this build does not have have none.
var pairs = map[string][]string{
	"api-server":         {"server/tls/client-kube-apiserver", "server/tls/serving-kube-apiserver"},
	"admin":              {"server/tls/client-admin"},
	"auth-proxy":         {"server/tls/client-auth-proxy"},
	"controller-manager": {"server/tls/client-controller"},
	"etcd":               {"server/tls/etcd/client", "server/tls/etcd/server-client", "server/tls/etcd/peer-server-client"},
	"scheduler":          {"server/tls/client-scheduler"},
	"supervisor":         {"server/tls/client-supervisor"},
	"kubelet":            {"agent/client-kubelet", "agent/serving-kubelet"},
	"kube-proxy":         {"agent/client-kube-proxy"},
	"k3s-controller":     {"agent/client-k3s-controller"},
}

// Services completes a choice: without one it is all that this machine has. An unknown name is an error.
func Services(dataDir string, chosen []string) ([]string, error) {
	all := slices.Concat(ServerServices, AgentServices)
	for _, s := range chosen {
		if !slices.Contains(all, s) {
			return nil, fmt.Errorf("service %s is not recognized", s)
		}
	}
	if len(chosen) > 0 {
		return chosen, nil
	}
	switch _, err := os.Stat(filepath.Join(dataDir, "server")); {
	case err == nil:
		return all, nil
	case errors.Is(err, fs.ErrNotExist):
		return AgentServices, nil
	default:
		return nil, err
	}
}

// Certificate is one of a file: the leaf, or a CA that follows it. Names are k3s's. ResidualTime is in nanoseconds.
type Certificate struct {
	Filename     string
	Subject      string
	Issuer       string
	Usages       []string
	ExpiryTime   time.Time
	ResidualTime time.Duration
	Status       string
}

// Look reads the certificates of services; files that are absent or no certificates are left out.
func Look(dataDir string, services []string, now time.Time) []Certificate {
	var found []Certificate
	for _, s := range services {
		for _, pair := range pairs[s] {
			file := filepath.Join(dataDir, pair+".crt")
			list, err := cert.CertsFromFile(file)
			if err != nil {
				log.Debug(err)
			}
			for _, c := range list {
				found = append(found, describe(filepath.Base(file), c, now))
			}
		}
	}
	return found
}

func describe(name string, c *x509.Certificate, now time.Time) Certificate {
	d := Certificate{Filename: name, Subject: c.Subject.CommonName, Issuer: c.Issuer.CommonName, Usages: usages(c),
		ExpiryTime: c.NotAfter, ResidualTime: c.NotAfter.Sub(now), Status: OK}
	switch {
	case now.Before(c.NotBefore):
		d.Status, d.ExpiryTime = NotYetValid, c.NotBefore
	case now.After(c.NotAfter):
		d.Status = Expired
	case d.ResidualTime < certs.RenewBefore:
		d.Status = Warning
	}
	return d
}

func usages(c *x509.Certificate) (list []string) {
	if c.KeyUsage&x509.KeyUsageCertSign != 0 {
		list = append(list, "CertSign")
	}
	for _, u := range c.ExtKeyUsage {
		switch u {
		case x509.ExtKeyUsageServerAuth:
			list = append(list, "ServerAuth")
		case x509.ExtKeyUsageClientAuth:
			list = append(list, "ClientAuth")
		}
	}
	if list == nil {
		list = []string{"Unknown"}
	}
	return list
}

// String is k3s's line about a certificate.
func (c Certificate) String() string {
	at := c.ExpiryTime.Format(time.RFC3339)
	text := fmt.Sprintf("%s: certificate %s (%s) ", c.Filename, c.Subject, strings.Join(c.Usages, ","))
	switch c.Status {
	case NotYetValid:
		return text + "is not valid before " + at
	case Expired:
		return text + "expired at " + at
	case Warning:
		return fmt.Sprintf("%swill expire within %d days at %s", text, certs.RenewBefore/(24*time.Hour), at)
	}
	return text + "is ok, expires at " + at
}

// Rotate keeps a copy of the certificates in a directory that it returns, and deletes them with their keys; the next
// start makes new ones. It is for a machine whose k3s is stopped.
func Rotate(dataDir string, services []string, now time.Time) (string, error) {
	name := fmt.Sprintf("tls-%d", now.Unix())
	backup := filepath.Join(dataDir, "agent", name)
	tlsDir := filepath.Join(dataDir, "server", "tls")
	if _, err := os.Stat(tlsDir); err == nil {
		backup = filepath.Join(dataDir, "server", name)
		if err := os.CopyFS(backup, os.DirFS(tlsDir)); err != nil {
			return "", err
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	var list []string
	for _, s := range services {
		for _, pair := range pairs[s] {
			list = append(list, pair+".crt", pair+".key")
		}
	}
	for _, f := range list { // all copies before the first deletion
		if filepath.Dir(f) != "agent" {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dataDir, f))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = files.Write(filepath.Join(backup, filepath.Base(f)), data, 0o600)
		}
		if err != nil {
			return "", err
		}
	}
	for _, s := range services {
		log.Infof("Rotating certificates for %s", s)
	}
	for _, f := range list {
		if err := os.Remove(filepath.Join(dataDir, f)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	return backup, nil
}
