// Package certs is the cluster's small public-key infrastructure: three CAs and the leaves that they sign.
//
// Keys are ECDSA P-256. CAs live ten years, leaves one; a leaf is renewed, with its key kept, when fewer than 120 days
// are left, when its CA changed, or when it lacks a name that is wanted. That happens at each start, as in k3s.
package certs

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
	"k8s.io/kubernetes/pkg/apis/certificates"

	"edge-ai/lab/k3s/internal/files"
)

// Lifetimes of certificates, and how much of a leaf's may be left before a start renews it.
const (
	CALife      = 10 * 365 * 24 * time.Hour
	LeafLife    = 365 * 24 * time.Hour
	RenewBefore = 120 * 24 * time.Hour
)

// CA is a certificate authority with its key.
type CA struct {
	Cert *x509.Certificate
	Key  crypto.Signer
	PEM  []byte
}

// Leaf says what a certificate is for.
type Leaf struct {
	CommonName   string
	Organization []string
	DNSNames     []string
	IPs          []net.IP
	Usage        []x509.ExtKeyUsage
}

// EnsureCA loads dir/name.crt and dir/name.key, making both when neither is there.
func EnsureCA(dir, name, commonName string, now time.Time) (*CA, error) {
	crt, keyFile := filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")
	certPEM, certErr := os.ReadFile(crt)
	_, keyErr := os.Stat(keyFile)
	switch {
	case errors.Is(certErr, fs.ErrNotExist) && errors.Is(keyErr, fs.ErrNotExist):
		return newCA(crt, keyFile, commonName, now)
	case certErr != nil:
		return nil, certErr
	case keyErr != nil:
		return nil, keyErr
	}
	list, err := cert.ParseCertsPEM(certPEM)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", crt, err)
	}
	key, err := EnsureKey(keyFile)
	if err != nil {
		return nil, err
	}
	if !samePublicKey(list[0].PublicKey, key.Public()) {
		return nil, fmt.Errorf("%s is not the key of %s", keyFile, crt)
	}
	return &CA{Cert: list[0], Key: key, PEM: certPEM}, nil
}

func newCA(crt, keyFile, commonName string, now time.Time) (*CA, error) {
	key, err := EnsureKey(keyFile)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: fmt.Sprintf("%s@%d", commonName, now.Unix())},
		NotBefore:             now.UTC(),
		NotAfter:              now.Add(CALife).UTC(),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment | x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	ca := &CA{Key: key}
	if ca.Cert, err = x509.ParseCertificate(der); err != nil {
		return nil, err
	}
	if ca.PEM, err = cert.EncodeCertificates(ca.Cert); err != nil {
		return nil, err
	}
	return ca, files.Write(crt, ca.PEM, 0o644)
}

// EnsureLeaf loads dir/name.crt and .key, or makes or renews them. It reports whether the certificate is new.
func EnsureLeaf(dir, name string, ca *CA, leaf Leaf, now time.Time) (bool, error) {
	crt := filepath.Join(dir, name+".crt")
	key, err := EnsureKey(filepath.Join(dir, name+".key"))
	if err != nil {
		return false, err
	}
	if list, err := cert.CertsFromFile(crt); err == nil && fits(list[0], ca, key.Public(), leaf, now) {
		return false, nil
	}
	certPEM, err := ca.Sign(key.Public(), leaf, now)
	if err != nil {
		return false, err
	}
	return true, files.Write(crt, certPEM, 0o644)
}

// fits reports whether a certificate on disk can stay.
func fits(cert *x509.Certificate, ca *CA, key crypto.PublicKey, leaf Leaf, now time.Time) bool {
	if now.Before(cert.NotBefore) || cert.NotAfter.Sub(now) < RenewBefore || cert.CheckSignatureFrom(ca.Cert) != nil ||
		!samePublicKey(cert.PublicKey, key) || cert.Subject.CommonName != leaf.CommonName ||
		!slices.Equal(cert.Subject.Organization, leaf.Organization) {
		return false
	}
	for _, n := range leaf.DNSNames {
		if !slices.Contains(cert.DNSNames, n) {
			return false
		}
	}
	for _, ip := range leaf.IPs {
		if !slices.ContainsFunc(cert.IPAddresses, ip.Equal) {
			return false
		}
	}
	return true
}

// Sign makes a leaf for a public key and returns it as PEM, followed by the CA.
func (ca *CA) Sign(key crypto.PublicKey, leaf Leaf, now time.Time) ([]byte, error) {
	notAfter := now.Add(LeafLife)
	if notAfter.After(ca.Cert.NotAfter) {
		notAfter = ca.Cert.NotAfter
	}
	template := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: leaf.CommonName, Organization: leaf.Organization},
		NotBefore:             ca.Cert.NotBefore, // as in k3s: a clock that is behind matters only until the CA was made
		NotAfter:              notAfter.UTC(),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage:           leaf.Usage,
		BasicConstraintsValid: true,
		DNSNames:              leaf.DNSNames,
		IPAddresses:           leaf.IPs,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.Cert, key, ca.Key)
	if err != nil {
		return nil, err
	}
	return append(pem.EncodeToMemory(&pem.Block{Type: cert.CertificateBlockType, Bytes: der}), ca.PEM...), nil
}

// SignRequest signs the key of a PEM certificate request; every name is the caller's, none is taken from the request.
func (ca *CA) SignRequest(requestPEM []byte, leaf Leaf, now time.Time) ([]byte, error) {
	request, err := certificates.ParseCSR(requestPEM)
	if err != nil {
		return nil, err
	}
	if err := request.CheckSignature(); err != nil {
		return nil, err
	}
	return ca.Sign(request.PublicKey, leaf, now)
}

// EnsureKey loads a key, making an ECDSA one when it is absent.
func EnsureKey(file string) (crypto.Signer, error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		if data, err = keyutil.MakeEllipticPrivateKeyPEM(); err == nil {
			err = files.Write(file, data, 0o600)
		}
	}
	if err != nil {
		return nil, err
	}
	key, err := keyutil.ParsePrivateKeyPEM(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%s: a key that signs nothing", file)
	}
	return signer, nil
}

func serial() *big.Int {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		panic(err) // the system's random source is gone
	}
	return n
}

func samePublicKey(a, b crypto.PublicKey) bool {
	key, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && key.Equal(b)
}
