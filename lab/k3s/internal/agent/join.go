package agent

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	log "github.com/sirupsen/logrus"
	"k8s.io/client-go/util/cert"

	"edge-ai/lab/k3s/internal/certs"
	"edge-ai/lab/k3s/internal/files"
	"edge-ai/lab/k3s/internal/nodepassword"
	"edge-ai/lab/k3s/internal/passwd"
	"edge-ai/lab/k3s/internal/routes"
	"edge-ai/lab/k3s/internal/token"
)

const (
	connectRetry  = 2 * time.Second
	passwordRetry = 5 * time.Second
	maxAnswer     = 1 << 20
)

// rejected is what k3s's agent logs when the server answers 403; roles look for it.
const rejected = "Node password rejected, duplicate hostname or contents of '" + nodepassword.Dir + "/password' may not match " +
	"server node-passwd entry, try enabling a unique node name with the --with-node-id flag"

// waiting is how an agent's log begins its lines while the server does not let it in.
const waiting = "Waiting to retrieve agent configuration; server is not ready"

// statusError is an HTTP answer that is not 200. As in k3s its text does not have the body.
type statusError struct {
	url  string
	code int
	body string
}

func (e *statusError) Error() string {
	return fmt.Sprintf("%s: %d %s", e.url, e.code, http.StatusText(e.code))
}

// joiner talks to the supervisor of a server.
type joiner struct {
	url      string // https://host:port of the server, or of this node's load balancer
	server   string // the server's URL in the configuration
	user     string // of the token's password, whatever user the token names
	token    token.Token
	dir      string // <data>/agent
	nodeName string
	nodeIP   string
	password string
	caPEM    []byte
	// dial, if set, connects to whichever server lives, instead of the one in url.
	dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// ServerJoin is how a server talks to one that runs: as user server for the cluster's keys, and as an agent for what
// agents may see.
type ServerJoin struct {
	URL          string
	Hash         string // of the CA; empty for a short token
	Password     string // of the server's token
	NodePassword string // of the agents'
	NodeName     string
}

func (s *ServerJoin) joiner(user, password string) *joiner {
	url := strings.TrimSuffix(s.URL, "/")
	return &joiner{url: url, server: url, user: user, token: token.Token{Hash: s.Hash, Password: password}, nodeName: s.NodeName}
}

// Fetch gets what a second server needs; it waits until the other answers and accepts the tokens.
func (s *ServerJoin) Fetch(ctx context.Context) (*routes.Cluster, *routes.Join, error) {
	cluster, err := s.joiner(passwd.Node, s.NodePassword).connect(ctx)
	if err != nil {
		return nil, nil, err
	}
	last := ""
	for {
		join, err := s.Keys(ctx)
		if err == nil {
			return cluster, join, nil
		}
		var status *statusError
		if errors.As(err, &status) && status.code == http.StatusConflict {
			return nil, nil, err
		}
		if text := err.Error(); text != last {
			log.Errorf("Failed to get the cluster's keys from %s: %s", s.URL, text)
			last = text
		}
		if err := sleep(ctx, connectRetry); err != nil {
			return nil, nil, err
		}
	}
}

// Keys asks once.
func (s *ServerJoin) Keys(ctx context.Context) (*routes.Join, error) {
	data, err := s.Call(ctx, "GET", "server-bootstrap", nil)
	if err != nil {
		return nil, err
	}
	var join routes.Join
	return &join, json.Unmarshal(data, &join)
}

// Call sends a request as user server; name is the route's, after /v1-k3s/.
func (s *ServerJoin) Call(ctx context.Context, method, name string, body []byte) ([]byte, error) {
	j := s.joiner(passwd.Server, s.Password)
	if err := j.fetchCA(ctx); err != nil {
		return nil, err
	}
	data, err := j.call(ctx, method, name, body)
	var status *statusError
	if errors.As(err, &status) {
		return nil, fmt.Errorf("%w: %s", err, status.body)
	}
	return data, err
}

// connect waits until the server presents a CA that fits the token and accepts it, and returns the cluster's settings.
func (j *joiner) connect(ctx context.Context) (*routes.Cluster, error) {
	last := ""
	for {
		cluster, level, err := j.tryConnect(ctx)
		if err == nil {
			return cluster, nil
		}
		if text := err.Error(); text != last { // say it once, then each time it changes
			log.StandardLogger().Log(level, text)
			last = text
		}
		if err := sleep(ctx, connectRetry); err != nil {
			return nil, err
		}
	}
}

// tryConnect asks once; its errors are what k3s logs while it waits, with k3s's level.
func (j *joiner) tryConnect(ctx context.Context) (*routes.Cluster, log.Level, error) {
	if err := j.fetchCA(ctx); err != nil {
		return nil, log.ErrorLevel, fmt.Errorf("Failed to validate connection to cluster at %s: %w", j.server, err)
	}
	data, err := j.call(ctx, "GET", "config", nil)
	if err != nil {
		return nil, log.InfoLevel, fmt.Errorf("%s: failed to retrieve configuration from server: %w", waiting, err)
	}
	var cluster routes.Cluster
	return &cluster, log.ErrorLevel, json.Unmarshal(data, &cluster)
}

// fetchCA gets the CA that the server presents and checks it against the token's hash.
func (j *joiner) fetchCA(ctx context.Context) error {
	// Only this request trusts blindly: what it brings is checked against the hash.
	blind := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true, DialContext: j.dial}} //nolint:gosec // see above
	caPEM, err := get(ctx, blind, j.url+"/cacerts")
	if err != nil {
		return fmt.Errorf("failed to get CA certs: %w", err)
	}
	if err := j.token.CheckCA(caPEM); err != nil {
		return err
	}
	j.caPEM = caPEM
	return nil
}

// call sends a request, first with the node's certificate if there is one, then with the token.
func (j *joiner) call(ctx context.Context, method, name string, body []byte) ([]byte, error) {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(j.caPEM)
	// The CA is what is trusted; the server's certificate need not know the address that leads to it.
	conf := &tls.Config{RootCAs: pool, ServerName: "kubernetes", MinVersion: tls.VersionTLS12}
	try := func(conf *tls.Config, withToken bool) ([]byte, error) {
		client := &http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{
			TLSClientConfig: conf, DisableKeepAlives: true, DialContext: j.dial}}
		request, err := http.NewRequestWithContext(ctx, method, j.url+routes.Prefix+name, bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		request.Header.Set(routes.HeaderName, j.nodeName)
		request.Header.Set(routes.HeaderPassword, j.password)
		request.Header.Set(routes.HeaderIP, j.nodeIP)
		switch {
		case !withToken:
		case j.token.ID != "":
			request.Header.Set("Authorization", "Bearer "+j.token.ID+"."+j.token.Secret)
		case j.token.Password != "":
			request.SetBasicAuth(j.user, j.token.Password)
		}
		return do(client, request)
	}
	if j.dir == "" { // a server that joins: no node yet
		return try(conf, true)
	}
	if pair, err := tls.LoadX509KeyPair(j.path("client-kubelet.crt"), j.path("client-kubelet.key")); err == nil {
		withCert := conf.Clone()
		withCert.Certificates = []tls.Certificate{pair}
		data, err := try(withCert, false)
		var status *statusError
		if refused := errors.As(err, &status) && status.code == http.StatusUnauthorized; !refused || j.token == (token.Token{}) {
			return data, err
		}
	}
	return try(conf, true)
}

// apiServers asks for the addresses of all servers.
func (j *joiner) apiServers(ctx context.Context) ([]string, error) {
	data, err := j.call(ctx, "GET", "apiservers", nil)
	if err != nil {
		return nil, err
	}
	var servers []string
	return servers, json.Unmarshal(data, &servers)
}

func (j *joiner) path(name string) string { return filepath.Join(j.dir, name) }

// certificates fetches the CAs and this node's certificates. It waits indefinitely when the node's password is refused.
func (j *joiner) certificates(ctx context.Context) error {
	last := ""
	for {
		err := j.tryCertificates(ctx)
		if err == nil {
			return nil
		}
		text, wait := err.Error(), connectRetry
		var status *statusError
		if errors.As(err, &status) && status.code == http.StatusForbidden {
			text, wait = rejected, passwordRetry
			last = "" // k3s repeats this line; a role may read only the newest part of the log
		}
		if text != last {
			log.Infof("%s: %s", waiting, text)
			last = text
		}
		if err := sleep(ctx, wait); err != nil {
			return err
		}
	}
}

func (j *joiner) tryCertificates(ctx context.Context) error {
	for _, ca := range []string{"client-ca.crt", "server-ca.crt"} {
		data, err := j.call(ctx, "GET", ca, nil)
		if err != nil {
			return err
		}
		if err := files.Write(j.path(ca), data, 0o644); err != nil {
			return err
		}
	}
	// New ones at each start: the node's address may have changed, and this is how the server checks its password.
	for _, name := range []string{"serving-kubelet", "client-kubelet", "client-kube-proxy", "client-k3s-controller"} {
		key, err := certs.EnsureKey(j.path(name + ".key"))
		if err != nil {
			return err
		}
		request, err := cert.MakeCSR(key, &pkix.Name{CommonName: j.nodeName}, nil, nil)
		if err != nil {
			return err
		}
		data, err := j.call(ctx, "POST", name+".crt", request)
		if err != nil {
			return err
		}
		if err := files.Write(j.path(name+".crt"), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func get(ctx context.Context, client *http.Client, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	return do(client, request)
}

func do(client *http.Client, request *http.Request) ([]byte, error) {
	answer, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		log.Debugf("%s: %s", request.URL, strings.TrimSpace(string(body)))
		return nil, &statusError{request.URL.String(), answer.StatusCode, strings.TrimSpace(string(body))}
	}
	return body, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
