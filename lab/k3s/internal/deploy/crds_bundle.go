//go:build bundle

package deploy

import _ "embed" // for the kinds of Traefik

// traefikCRDs is the file of Traefik's own module, which build.sh puts in place.
//
//go:embed traefik-crds.yaml
var traefikCRDs string
