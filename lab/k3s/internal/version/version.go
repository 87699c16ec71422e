// Package version holds what build.sh stamps into the binary.
package version

import (
	"fmt"
	"runtime"
)

// Version looks like v1.36.3+lab1: Kubernetes's version and the lab's own suffix. Commit is short.
var (
	Version = "v0.0.0+lab0"
	Commit  = "unknown"
)

// Print gives the two lines of `k3s --version`.
func Print() string {
	return fmt.Sprintf("k3s version %s (%s)\ngo version %s\n", Version, Commit, runtime.Version())
}
