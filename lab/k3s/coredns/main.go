// Command coredns is CoreDNS with the plugins that the packaged Corefile, or a coredns-custom ConfigMap, may use;
// leaving out the clouds' plugins makes it half the size.
package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"

	// The plugins; their order of execution is dnsserver.Directives.
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/file"
	_ "github.com/coredns/coredns/plugin/forward"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/hosts"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/loadbalance"
	_ "github.com/coredns/coredns/plugin/log"
	_ "github.com/coredns/coredns/plugin/loop"
	_ "github.com/coredns/coredns/plugin/metrics"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/reload"
	_ "github.com/coredns/coredns/plugin/rewrite"
	_ "github.com/coredns/coredns/plugin/template"
)

func init() { dnsserver.Directives = directives }

// directives is CoreDNS's own order, reduced to what is built in.
var directives = []string{"reload", "bind", "ready", "health", "prometheus", "errors", "log", "loadbalance", "rewrite",
	"cache", "template", "hosts", "kubernetes", "file", "loop", "forward"}

func main() { coremain.Run() }
