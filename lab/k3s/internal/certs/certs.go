// Package certs is the cluster's small public-key infrastructure: three CAs and the leaves that they sign.
//
// Keys are ECDSA P-256. CAs live ten years, leaves one; a leaf is renewed, with its key kept, when fewer than 120 days
// are left, when its CA changed, or when it lacks a name that is wanted. That happens at each start, as in k3s.
package certs

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
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
	crt, key := filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")
	certPEM, certErr := os.ReadFile(crt)
	keyPEM, keyErr := os.ReadFile(key)
	switch {
	case errors.Is(certErr, fs.ErrNotExist) && errors.Is(keyErr, fs.ErrNotExist):
		return newCA(crt, key, commonName, now)
	case certErr != nil:
		return nil, certErr
	case keyErr != nil:
		return nil, keyErr
	}
	cert, err := ParseCert(certPEM)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", crt, err)
	}
	signer, err := ParseKey(keyPEM)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	if !samePublicKey(cert.PublicKey, signer.Public()) {
		return nil, fmt.Errorf("%s is not the key of %s", key, crt)
	}
	return &CA{Cert: cert, Key: signer, PEM: certPEM}, nil
}

func newCA(crt, keyFile, commonName string, now time.Time) (*CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
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
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	ca := &CA{Cert: cert, Key: key, PEM: encode("CERTIFICATE", der)}
	if err := writeKey(keyFile, key); err != nil {
		return nil, err
	}
	return ca, WriteFile(crt, ca.PEM, 0o644)
}

// EnsureLeaf loads dir/name.crt and .key, or makes or renews them. It reports whether the certificate is new.
func EnsureLeaf(dir, name string, ca *CA, leaf Leaf, now time.Time) (bool, error) {
	crt := filepath.Join(dir, name+".crt")
	key, err := EnsureKey(filepath.Join(dir, name+".key"))
	if err != nil {
		return false, err
	}
	if data, err := os.ReadFile(crt); err == nil {
		if cert, err := ParseCert(data); err == nil && fits(cert, ca, key.Public(), leaf, now) {
			return false, nil
		}
	}
	certPEM, err := ca.Sign(key.Public(), leaf, now)
	if err != nil {
		return false, err
	}
	return true, WriteFile(crt, certPEM, 0o644)
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
	return append(encode("CERTIFICATE", der), ca.PEM...), nil
}

// SignRequest signs the key of a PEM certificate request; every name is the caller's, none is taken from the request.
func (ca *CA) SignRequest(requestPEM []byte, leaf Leaf, now time.Time) ([]byte, error) {
	block, _ := pem.Decode(requestPEM)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return nil, errors.New("a PEM certificate request is wanted")
	}
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, err
	}
	if err := request.CheckSignature(); err != nil {
		return nil, err
	}
	return ca.Sign(request.PublicKey, leaf, now)
}

// Request makes a PEM certificate request for a key.
func Request(key crypto.Signer, commonName string) ([]byte, error) {
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: commonName}}, key)
	if err != nil {
		return nil, err
	}
	return encode("CERTIFICATE REQUEST", der), nil
}

// EnsureKey loads an ECDSA key, making it when it is absent.
func EnsureKey(file string) (crypto.Signer, error) {
	data, err := os.ReadFile(file)
	if err == nil {
		key, err := ParseKey(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		return key, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	return key, writeKey(file, key)
}

// ParseCert reads the first certificate of PEM text.
func ParseCert(data []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("no PEM certificate")
	}
	return x509.ParseCertificate(block.Bytes)
}

// ParseKey reads a PEM private key: EC, PKCS#8 or PKCS#1.
func ParseKey(data []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New("no PEM private key")
	}
	switch block.Type {
	case "EC PRIVATE KEY":
		return x509.ParseECPrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		return x509.ParsePKCS1PrivateKey(block.Bytes)
	case "PRIVATE KEY":
		key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			return nil, err
		}
		if signer, ok := key.(crypto.Signer); ok {
			return signer, nil
		}
	}
	return nil, fmt.Errorf("PEM block %q is not a private key", block.Type)
}

// WriteFile replaces a file by rename, so that a reader or a power cut never sees half of it.
func WriteFile(file string, data []byte, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	if _, err = tmp.Write(data); err == nil {
		err = tmp.Chmod(mode)
	}
	if err == nil {
		err = tmp.Sync()
	}
	if closeErr := tmp.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	return os.Rename(tmp.Name(), file)
}

func writeKey(file string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return WriteFile(file, encode("EC PRIVATE KEY", der), 0o600)
}

func encode(kind string, der []byte) []byte {
	var b bytes.Buffer
	_ = pem.Encode(&b, &pem.Block{Type: kind, Bytes: der}) // a Buffer never fails
	return b.Bytes()
}

func serial() *big.Int {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		panic(err) // the system's random source is gone
	}
	return n
}

func samePublicKey(a, b crypto.PublicKey) bool {
	switch k := a.(type) {
	case *ecdsa.PublicKey:
		return k.Equal(b)
	case *rsa.PublicKey:
		return k.Equal(b)
	}
	return false
}
