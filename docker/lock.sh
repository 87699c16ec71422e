#!/bin/sh
# Generates requirements.amd64.txt and requirements.arm64.txt from requirements.in: exact versions, every wheel with its hash.
# Needs uv (`pip install uv`) and a package index; `./lock.sh --upgrade` selects newer versions, without it valid pins are kept.
set -eu
cd "$(dirname "$0")"
for pair in amd64:x86_64 arm64:aarch64; do
    arch=${pair%%:*} machine=${pair##*:}
    uv pip compile requirements.in --quiet --override requirements.exclude --output-file "requirements.$arch.txt" \
        --python-version 3.13 --python-platform "$machine-manylinux_2_28" \
        --only-binary :all: --generate-hashes --no-emit-index-url --no-annotate --no-emit-find-links \
        --custom-compile-command docker/lock.sh "$@"
done
