// Package token reads and writes k3s's join tokens.
//
// The full form is K10<sha256 of the server CA's PEM file>::<user>:<password>; a bare password is the short form,
// which skips the check of the CA. <id>.<secret> (6 and 16 characters) is a bootstrap token, bare or after K10<hash>::.
package token

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"k8s.io/client-go/util/cert"
	bootstraputil "k8s.io/cluster-bootstrap/token/util"
)

const prefix = "K10"

// The errors of k3s, word for word where a role may look for them.
var (
	ErrEmpty  = errors.New("token must not be empty")
	ErrLength = errors.New("invalid token CA hash length")
	ErrFormat = errors.New("invalid token format")
	ErrForm   = errors.New("failed to normalize token; must be in format K10<CA-HASH>::<USERNAME>:<PASSWORD> or <PASSWORD>")
)

// Token is a parsed token. Hash is empty in the short form; ID and Secret are set for a bootstrap token only.
type Token struct {
	Hash     string
	User     string
	Password string
	ID       string
	Secret   string
}

// Parse reads any of the forms.
func Parse(s string) (Token, error) {
	s = strings.TrimSpace(s)
	if s == "" {
		return Token{}, ErrEmpty
	}
	var t Token
	rest := s
	if strings.HasPrefix(s, prefix) && strings.Contains(s, "::") {
		t.Hash, rest, _ = strings.Cut(strings.TrimPrefix(s, prefix), "::")
		if len(t.Hash) != sha256.Size*2 {
			return Token{}, ErrLength
		}
		if _, err := hex.DecodeString(t.Hash); err != nil {
			return Token{}, ErrFormat
		}
	}
	if m := bootstraputil.BootstrapTokenRegexp.FindStringSubmatch(rest); m != nil {
		t.ID, t.Secret = m[1], m[2]
		return t, nil
	}
	if t.Hash == "" {
		t.Password = rest
		return t, nil
	}
	user, password, ok := strings.Cut(rest, ":")
	if !ok || user == "" || password == "" {
		return Token{}, ErrFormat
	}
	t.User, t.Password = user, password
	return t, nil
}

// Format gives the full form for a server CA.
func Format(caPEM []byte, user, password string) (string, error) {
	hash, err := Hash(caPEM)
	if err != nil {
		return "", err
	}
	return prefix + hash + "::" + user + ":" + password, nil
}

// FormatBootstrap gives the full form of a bootstrap token.
func FormatBootstrap(caPEM []byte, bare string) (string, error) {
	hash, err := Hash(caPEM)
	if err != nil {
		return "", err
	}
	return prefix + hash + "::" + bare, nil
}

// Hash is the CA hash of a token: of the PEM text for a single certificate, of the last certificate's DER for a bundle.
func Hash(caPEM []byte) (string, error) {
	list, err := cert.ParseCertsPEM(caPEM)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(caPEM)
	if len(list) > 1 {
		sum = sha256.Sum256(list[len(list)-1].Raw)
	}
	return hex.EncodeToString(sum[:]), nil
}

// CheckCA compares the token's hash, if it has one, with the CA that a server presents.
func (t Token) CheckCA(caPEM []byte) error {
	if t.Hash == "" {
		return nil
	}
	got, err := Hash(caPEM)
	if err != nil {
		return err
	}
	if got != t.Hash {
		return fmt.Errorf("token CA hash does not match the Cluster CA certificate hash: %s != %s", t.Hash, got)
	}
	return nil
}

// Normalize gives the password of a server's token of any form, without looking at a CA.
func Normalize(s string) (string, error) {
	t, err := Parse(s)
	switch {
	case err != nil:
		return "", err
	case t.ID != "" && t.Hash == "":
		// A password that happens to look like a bootstrap token is fine for k3s's first server too.
		return t.ID + "." + t.Secret, nil
	case t.ID != "":
		return "", ErrForm
	}
	return t.Password, nil
}

// ServerPassword gives the password of a token that a server is configured with: a bare password, or the full form
// whose user is server and whose hash fits the CA.
func ServerPassword(s string, caPEM []byte) (string, error) {
	password, err := Normalize(s)
	if err != nil {
		return "", err
	}
	t, err := Parse(s)
	if err != nil {
		return "", err
	}
	if t.Hash != "" && t.User != "server" {
		return "", ErrForm
	}
	return password, t.CheckCA(caPEM)
}

// AgentPassword gives the password of a configured agent token, which may name any user, or none.
func AgentPassword(s string, caPEM []byte) (string, error) {
	password, err := Normalize(s)
	if err != nil {
		return "", err
	}
	t, err := Parse(s)
	if err != nil {
		return "", err
	}
	return password, t.CheckCA(caPEM)
}

// LooksLikeBootstrap reports whether a password has the form of a bootstrap token; agents would send it as one.
func LooksLikeBootstrap(password string) bool { return bootstraputil.IsValidBootstrapToken(password) }

// Random gives n random bytes in hexadecimal digits.
func Random(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails since Go 1.24
	return hex.EncodeToString(b)
}

// BootstrapGroup is the group that a bootstrap token must carry to let an agent join.
const BootstrapGroup = "system:bootstrappers:k3s:default-node-token"
