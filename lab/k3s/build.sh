#!/bin/sh
# Builds the lab's k3s: build.sh OUT_DIR VERSION, for example build.sh dist v1.36.3+lab1
#
# Makes OUT_DIR/k3s, OUT_DIR/k3s-airgap-images-amd64.tar.zst and OUT_DIR/k3s-images.txt. Needs Go and patchelf on PATH, and
# apt on a Debian machine for runc and ipset. Nothing is written beside the sources.
set -eu

[ $# -eq 2 ] || { echo "usage: $0 OUT_DIR VERSION" >&2; exit 2; }
case $2 in
v[0-9]*.[0-9]*.[0-9]*+lab[0-9]*) version=$2 ;;
*) echo "$0: version \"$2\" is not of the form v1.36.3+lab1" >&2; exit 2 ;;
esac
for program in go patchelf; do
    command -v "$program" >/dev/null || { echo "$0: $program is not on PATH" >&2; exit 2; }
done
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
out=$(cd "$1" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# boards_suite is the release of the boards: these programs use its libc, libseccomp and libmnl.
boards_suite=trixie
arch=$(go env GOARCH)
. "$here/env.sh"

say() { printf '%s %s\n' "$(date +%T)" "$*" >&2; }

# mirror prints the Debian mirror that this machine's apt uses, so that no name of a host stands here.
mirror() {
    for f in /etc/apt/sources.list /etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list; do
        [ -f "$f" ] || continue
        sed -n -e 's/^URIs:[[:space:]]*\([^[:space:]]*\).*/\1/p' \
            -e 's/^deb[[:space:]]\{1,\}\(\[[^]]*\][[:space:]]*\)\{0,1\}\([^[:space:]]*\).*/\2/p' "$f"
    done | grep -E '/debian/?$' | head -n 1
}

# fetch_programs gets Debian's packages with an apt configuration of its own: nothing is installed or changed.
fetch_programs() {
    uri=$(mirror)
    [ -n "$uri" ] || { echo "$0: no Debian mirror in /etc/apt" >&2; exit 1; }
    apt=$work/apt
    mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$apt/state" "$apt/empty"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $uri $boards_suite main" >"$apt/sources.list"
    cat >"$apt/apt.conf" <<EOF
Dir::Etc::sourcelist "$apt/sources.list";
Dir::Etc::sourceparts "$apt/empty";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "$apt/empty";
Dir::State "$apt/state";
Dir::State::lists "$apt/lists";
Dir::State::status "/dev/null";
Dir::Cache "$apt/cache";
APT::Architecture "$arch";
APT::Architectures { "$arch"; };
APT::Sandbox::User "root";
Acquire::Languages "none";
EOF
    (cd "$apt" && export APT_CONFIG="$apt/apt.conf" &&
        apt-get -q update --error-on=any >log 2>&1 && apt-get -q download runc ipset libipset13t64 >>log 2>&1 &&
        for package in *.deb; do dpkg-deb --extract "$package" root; done) || { cat "$apt/log" >&2; exit 1; }
    cp "$apt/root/usr/sbin/runc" "$apt/root/usr/sbin/ipset" "$apt"/root/usr/lib/*/libipset.so.13 "$1"
    # The library is beside the program, on boards too.
    patchelf --set-rpath '$ORIGIN' "$1/ipset"
}

# module prints where the sources of a module are that . or traefik/ requires.
module() { (cd "$1" && go mod download "$2" && go list -m -f '{{.Dir}}' "$2"); }

# build_traefik leaves the DNS providers of ACME out, most of its code.
build_traefik() {
    cp -r "$(module traefik github.com/go-acme/lego/v4)" "$work/lego"
    chmod -R u+w "$work/lego"
    cp traefik/dns/providers.go "$work/lego/providers/dns/zz_gen_dns_providers.go"
    cp traefik/go.mod "$work/traefik.mod"
    cp traefik/go.sum "$work/traefik.sum"
    echo "replace github.com/go-acme/lego/v4 => $work/lego" >>"$work/traefik.mod"
    (cd traefik && go build -modfile "$work/traefik.mod" -ldflags "-s -w -X github.com/traefik/traefik/v3/pkg/version.Version=$1" \
        -o "$work/images/traefik" github.com/traefik/traefik/v3/cmd/traefik)
}

# build_metrics_server names its models as Kubernetes does since 1.35, whose libraries look for them: 0.8 was generated before.
build_metrics_server() {
    cp -r "$(module . sigs.k8s.io/metrics-server)" "$work/metrics-server"
    chmod -R u+w "$work/metrics-server"
    sed -E -i -e '/^func GetOpenAPIDefinitions/,$ { :next; s|("k8s\.io/[^"]*)/|\1.|; t next; s|"k8s\.io/|"io.k8s.|g; }' \
        "$work/metrics-server/pkg/api/generated/openapi/zz_generated.openapi.go"
    cp go.mod "$work/metrics.mod"
    cp go.sum "$work/metrics.sum"
    echo "replace sigs.k8s.io/metrics-server => $work/metrics-server" >>"$work/metrics.mod"
    go build -modfile "$work/metrics.mod" -ldflags "-s -w -X k8s.io/client-go/pkg/version.gitVersion=$1" \
        -o "$work/images/" sigs.k8s.io/metrics-server/cmd/metrics-server
}

cd "$here"
mkdir "$work/bin" "$work/images"
say "runc and ipset from Debian $boards_suite"
fetch_programs "$work/bin"

say "containerd's shim and the CNI plugins"
go build -ldflags "-s -w" -o "$work/bin/" \
    github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2 \
    github.com/containernetworking/plugins/plugins/main/bridge \
    github.com/containernetworking/plugins/plugins/main/loopback \
    github.com/containernetworking/plugins/plugins/ipam/host-local \
    github.com/containernetworking/plugins/plugins/meta/portmap
go build -o "$work/pack" ./cmd/pack
(cd "$work/bin" && "$work/pack" bundle "$work/bundle.tar.zst" ./*)

# The digest of the sources stands for a commit: it also fits a build from a changed work tree.
commit=$(find . -name '*.go' -o -name '*.yaml' -o -name '*.txt' -o -name 'go.*' | LC_ALL=C sort | xargs cat | sha256sum | cut -c1-8)
numbers=${version#v}
major=${numbers%%.*}
minor=${numbers#*.}
minor=${minor%%.*}
containerd=$(go list -m -f '{{.Version}}' github.com/containerd/containerd/v2)
kine=$(go list -m -f '{{.Version}}' github.com/k3s-io/kine)
flags="-s -w -X edge-ai/lab/k3s/internal/version.Version=$version -X edge-ai/lab/k3s/internal/version.Commit=$commit"
for p in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    flags="$flags -X $p.gitVersion=$version -X $p.gitMajor=$major -X $p.gitMinor=$minor"
    flags="$flags -X $p.gitCommit=$commit -X $p.gitTreeState=clean -X $p.buildDate=1970-01-01T00:00:00Z"
done
flags="$flags -X github.com/containerd/containerd/v2/version.Version=$containerd"
flags="$flags -X github.com/k3s-io/kine/pkg/version.Version=$kine"

say "k3s $version (Kubernetes, containerd, kine: minutes when Go's cache is cold)"
# The bundle and the kinds of Traefik reach go:embed by an overlay, so that the source tree stays clean.
printf '{"Replace": {"%s": "%s", "%s": "%s"}}\n' "$here/internal/bundle/bundle.tar.zst" "$work/bundle.tar.zst" \
    "$here/internal/deploy/traefik-crds.yaml" \
    "$(module traefik github.com/traefik/traefik/v3)/docs/content/reference/dynamic-configuration/kubernetes-crd-definition-v1.yml" \
    >"$work/overlay.json"
go build -overlay "$work/overlay.json" -tags "${GOFLAGS##*-tags=},bundle" -ldflags "$flags" -o "$work/k3s" .

say "images"
go build -ldflags "-s -w" -o "$work/images/pause" ./pause
coredns=$(cd coredns && go list -m -f '{{.Version}}' github.com/coredns/coredns)
(cd coredns && go build -ldflags "-s -w" -o "$work/images/coredns" .)
metrics=$(go list -m -f '{{.Version}}' sigs.k8s.io/metrics-server)
build_metrics_server "$metrics"
traefik=$(cd traefik && go list -m -f '{{.Version}}' github.com/traefik/traefik/v3)
build_traefik "${traefik#v}"
"$work/pack" images "$work/images.tar.zst" "$work/images.txt" "docker.io/lab/pause:1=$work/images/pause" \
    "docker.io/lab/coredns:${coredns#v}=$work/images/coredns" "docker.io/lab/traefik:${traefik#v}=$work/images/traefik" \
    "docker.io/lab/metrics-server:${metrics#v}=$work/images/metrics-server"

# By rename: a running k3s can be rebuilt.
mv "$work/images.txt" "$out/k3s-images.txt"
mv "$work/images.tar.zst" "$out/k3s-airgap-images-$arch.tar.zst"
mv "$work/k3s" "$out/k3s"
say "done: $(du -h "$out/k3s" | cut -f1) k3s, $(du -h "$out/k3s-airgap-images-$arch.tar.zst" | cut -f1) images"
