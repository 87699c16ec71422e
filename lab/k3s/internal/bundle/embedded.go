//go:build bundle

package bundle

import _ "embed" // for the archive

//go:embed bundle.tar.zst
var archive []byte
