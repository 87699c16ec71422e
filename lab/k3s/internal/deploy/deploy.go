// Package deploy applies the files of <data>/server/manifests to the cluster, at start and when they change.
//
// k3s keeps an Addon object per file; this build does not. A file is applied by server-side apply; removing it leaves
// its resources alone; F.yaml.skip makes F.yaml ignored.
package deploy

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	log "github.com/sirupsen/logrus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"

	"edge-ai/lab/k3s/internal/files"
)

// Interval is how often the directory is read.
const Interval = 15 * time.Second

const fieldManager = "k3s-deploy"

//go:embed packaged
var packaged embed.FS

// Vars fill the packaged manifests.
type Vars struct {
	ClusterDNS         string
	ClusterDomain      string
	CoreDNSImage       string
	TraefikImage       string
	MetricsServerImage string
}

// Packaged renders the packaged manifests, by their names below the directory, which are those of k3s.
func Packaged(v Vars) (map[string]string, error) {
	fill := strings.NewReplacer(
		"%{CLUSTER_DNS}%", v.ClusterDNS,
		"%{CLUSTER_DOMAIN}%", v.ClusterDomain,
		"%{COREDNS_IMAGE}%", v.CoreDNSImage,
		"%{TRAEFIK_IMAGE}%", v.TraefikImage,
		"%{METRICS_SERVER_IMAGE}%", v.MetricsServerImage,
	)
	manifests := map[string]string{}
	err := fs.WalkDir(packaged, ".", func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := packaged.ReadFile(file)
		manifests[strings.TrimPrefix(file, "packaged/")] = fill.Replace(string(text))
		return err
	})
	// The kinds first: Traefik's provider wants them at its start.
	manifests["traefik.yaml"] = traefikCRDs + "---\n" + manifests["traefik.yaml"]
	return manifests, err
}

// Component is the name that `disable` has for what a packaged manifest belongs to: of its file, or of its folder.
func Component(manifest string) string {
	first, _, _ := strings.Cut(manifest, "/")
	return strings.TrimSuffix(first, ".yaml")
}

// WritePackaged puts a packaged manifest into the directory, as k3s does at each start. A file F.skip keeps F away.
func WritePackaged(dir, name, text string) error {
	file := filepath.Join(dir, name)
	if old, err := os.ReadFile(file); err == nil && string(old) == text {
		return nil
	}
	return files.Write(file, []byte(text), 0o600)
}

// Controller applies one directory.
type Controller struct {
	dir     string
	client  dynamic.Interface
	mapper  *restmapper.DeferredDiscoveryRESTMapper
	applied map[string]fileState
	kinds   bool // whether the kind of the Helm controller is there
}

type fileState struct {
	values   string
	size     int64
	modified time.Time
	failed   bool
}

// New makes a controller for a directory.
func New(config *rest.Config, dir string) (*Controller, error) {
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	typed, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	return &Controller{
		dir:     dir,
		client:  client,
		mapper:  restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(typed.Discovery())),
		applied: map[string]fileState{},
	}, nil
}

// Run applies until ctx ends. Files that failed are tried again at the next look.
func (c *Controller) Run(ctx context.Context) {
	wait.UntilWithContext(ctx, c.once, Interval)
}

func (c *Controller) once(ctx context.Context) {
	if err := c.helm(ctx); err != nil {
		log.Errorf("Manifests: %v", err)
		return
	}
	files, err := Files(c.dir)
	if err != nil {
		log.Errorf("Manifests: %v", err)
	}
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			continue // gone again
		}
		state := fileState{size: info.Size(), modified: info.ModTime()}
		chart := charts[filepath.Base(file)]
		if chart != "" {
			if state.values, err = c.chartValues(ctx, chart); err != nil {
				log.Errorf("Failed to read the HelmChartConfig of %s: %v", chart, err)
				continue
			}
		}
		if old, ok := c.applied[file]; ok && !old.failed && old.size == state.size && old.modified.Equal(state.modified) && old.values == state.values {
			continue
		}
		if err := c.applyFile(ctx, file, chart, state.values); err != nil {
			state.failed = true
			log.Errorf("Failed to apply manifest %s: %v", file, err)
		} else {
			log.Infof("Applied manifest %s", file)
		}
		c.applied[file] = state
	}
}

// Files lists the manifests of a directory tree: .yaml, .yml and .json, no dotfiles, none with a .skip file beside it.
func Files(dir string) ([]string, error) {
	var files []string
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case strings.HasPrefix(entry.Name(), ".") && path != dir:
			if entry.IsDir() {
				return filepath.SkipDir
			}
			return nil
		case entry.IsDir():
			return nil
		}
		switch filepath.Ext(path) {
		case ".yaml", ".yml", ".json":
			if _, err := os.Stat(path + ".skip"); err != nil {
				files = append(files, path)
			}
		}
		return nil
	})
	return files, err
}

// Decode splits a file into objects.
func Decode(data []byte) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), 4096)
	for {
		var o unstructured.Unstructured
		if err := decoder.Decode(&o.Object); errors.Is(err, io.EOF) {
			return objects, nil
		} else if err != nil {
			return nil, err
		}
		if len(o.Object) == 0 {
			continue
		}
		if o.IsList() {
			list, err := o.ToList()
			if err != nil {
				return nil, err
			}
			for i := range list.Items {
				objects = append(objects, &list.Items[i])
			}
			continue
		}
		if o.GetKind() == "" || o.GetAPIVersion() == "" || o.GetName() == "" {
			return nil, errors.New("an object without apiVersion, kind or name")
		}
		objects = append(objects, &o)
	}
}

// helm makes the kind of the Helm controller, which k3s has from its start.
func (c *Controller) helm(ctx context.Context) error {
	if c.kinds {
		return nil
	}
	objects, err := Decode(helmCRD)
	if err == nil {
		err = c.apply(ctx, objects)
	}
	c.kinds = err == nil
	return err
}

func (c *Controller) applyFile(ctx context.Context, file, chart, values string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	objects, err := Decode(data)
	if err != nil {
		return err
	}
	if chart != "" {
		return c.applyChart(ctx, objects, values)
	}
	return c.apply(ctx, objects)
}

func (c *Controller) apply(ctx context.Context, objects []*unstructured.Unstructured) error {
	for _, o := range objects {
		resource, err := c.resource(o)
		if err != nil {
			return fmt.Errorf("%s %s: %w", o.GetKind(), o.GetName(), err)
		}
		if _, err := resource.Apply(ctx, o.GetName(), o, metav1.ApplyOptions{FieldManager: fieldManager, Force: true}); err != nil {
			return fmt.Errorf("%s %s: %w", o.GetKind(), o.GetName(), err)
		}
	}
	return nil
}

// Remove deletes what a packaged component's file created, then the file: what `disable` means.
func (c *Controller) Remove(ctx context.Context, name, text string) error {
	file := filepath.Join(c.dir, name)
	if _, err := os.Stat(file); err != nil {
		return nil // never deployed
	}
	objects, err := Decode([]byte(text))
	if err != nil {
		return err
	}
	if charts[name] != "" {
		_, other, err := Configure(objects, ChartValues{})
		if err != nil {
			return err
		}
		objects = append(objects, other...)
	}
	if err := c.delete(ctx, objects); err != nil {
		return err
	}
	return os.Remove(file)
}

func (c *Controller) delete(ctx context.Context, objects []*unstructured.Unstructured) error {
	background := metav1.DeletePropagationBackground
	for _, o := range objects {
		resource, err := c.resource(o)
		if err != nil {
			return err
		}
		err = resource.Delete(ctx, o.GetName(), metav1.DeleteOptions{PropagationPolicy: &background})
		if err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return nil
}

func (c *Controller) resource(o *unstructured.Unstructured) (dynamic.ResourceInterface, error) {
	kind := o.GroupVersionKind()
	mapping, err := c.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if meta.IsNoMatchError(err) { // a CRD of an earlier file may have brought the kind meanwhile
		c.mapper.Reset()
		mapping, err = c.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	}
	if err != nil {
		return nil, err
	}
	if mapping.Scope.Name() == meta.RESTScopeNameRoot {
		return c.client.Resource(mapping.Resource), nil
	}
	namespace := o.GetNamespace()
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	return c.client.Resource(mapping.Resource).Namespace(namespace), nil
}
