#!/bin/sh
# Generates requirements*.amd64.txt and requirements*.arm64.txt from requirements*.in: exact versions, every wheel with its hash.
# Needs uv (`pip install uv`) and a package index; `./lock.sh --upgrade` selects newer versions, without it valid pins are kept.
# The proxy's packages are locked by npm: `npm install --package-lock-only --omit-lockfile-registry-resolved` in requirements-hub/.
set -eu
cd "$(dirname "$0")"
lock() {
    name=$1 exclude=$2 pair=$3
    shift 3
    arch=${pair%%:*} machine=${pair##*:}
    uv pip compile "$name.in" --quiet --override "$exclude" --output-file "$name.$arch.txt" \
        --python-version 3.13 --python-platform "$machine-manylinux_2_28" \
        --only-binary :all: --generate-hashes --no-emit-index-url --no-annotate --no-emit-find-links \
        --custom-compile-command docker/lock.sh "$@"
}
for pair in amd64:x86_64 arm64:aarch64; do
    lock requirements requirements.exclude "$pair" "$@"
    # What images have in common, they have in the same version: a notebook behaves the same in either, and a hub knows what it starts.
    lock requirements-lite requirements.exclude "$pair" --override requirements-lite.exclude --constraint "requirements.${pair%%:*}.txt" "$@"
    lock requirements-hub requirements-hub.exclude "$pair" --constraint "requirements.${pair%%:*}.txt" "$@"
done
