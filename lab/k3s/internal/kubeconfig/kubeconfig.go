// Package kubeconfig writes the files with which programs and people reach the API.
package kubeconfig

import (
	"io/fs"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"edge-ai/lab/k3s/internal/files"
)

// For is a kubeconfig that names the file of the CA, and pair.crt and pair.key.
func For(server, ca, pair string) *api.Config {
	const name = "default"
	c := api.NewConfig()
	c.Clusters[name] = &api.Cluster{Server: server, CertificateAuthority: ca}
	c.AuthInfos[name] = &api.AuthInfo{ClientCertificate: pair + ".crt", ClientKey: pair + ".key"}
	c.Contexts[name] = &api.Context{Cluster: name, AuthInfo: name}
	c.CurrentContext = name
	return c
}

// Write replaces a file.
func Write(file string, c *api.Config, mode fs.FileMode) error {
	text, err := clientcmd.Write(*c)
	if err != nil {
		return err
	}
	return files.Write(file, text, mode)
}
