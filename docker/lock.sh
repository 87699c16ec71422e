#!/bin/sh
# Generates requirements*.amd64.txt and requirements*.arm64.txt from requirements*.in: exact versions, every wheel with its hash.
# Needs uv (`pip install uv`) and a package index; `./lock.sh --upgrade` selects newer versions, without it valid pins are kept.
set -eu
cd "$(dirname "$0")"
lock() {
    name=$1 pair=$2
    shift 2
    arch=${pair%%:*} machine=${pair##*:}
    uv pip compile "$name.in" --quiet --override requirements.exclude --output-file "$name.$arch.txt" \
        --python-version 3.13 --python-platform "$machine-manylinux_2_28" \
        --only-binary :all: --generate-hashes --no-emit-index-url --no-annotate --no-emit-find-links \
        --custom-compile-command docker/lock.sh "$@"
}
for pair in amd64:x86_64 arm64:aarch64; do
    lock requirements "$pair" "$@"
    # What both images have, they have in the same version: a notebook behaves the same in either.
    lock requirements-lite "$pair" --override requirements-lite.exclude --constraint "requirements.${pair%%:*}.txt" "$@"
done
