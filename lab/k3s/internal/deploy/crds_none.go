//go:build !bundle

package deploy

// traefikCRDs is empty in a build without its bundle, which is enough for `go vet` and for tests.
const traefikCRDs = ""
