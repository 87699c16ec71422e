# How everything here is compiled, to be sourced: builds, vet and tests then share what Go has in its cache.
export CGO_ENABLED=0
export GOFLAGS='-trimpath -tags=no_btrfs,no_devmapper,no_zfs'
