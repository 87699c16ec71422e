package deploy

import (
	"context"
	_ "embed" // for the kind of the Helm controller
	"errors"
	"fmt"
	"maps"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

// k3s installs some components as Helm charts, whose values a HelmChartConfig of the same name changes. Here they are plain
// objects, and a HelmChartConfig may have the values that are listed below.

//go:embed helm-crd.yaml
var helmCRD []byte

// charts are the components that k3s has as a chart, by the file of their objects.
var charts = map[string]string{"traefik.yaml": "traefik"}

var helmChartConfigs = schema.GroupVersionResource{Group: "helm.cattle.io", Version: "v1", Resource: "helmchartconfigs"}

// ChartValues are the values that are known here, with the chart's names and defaults.
type ChartValues struct {
	Deployment struct {
		// Deployment, or DaemonSet for a pod on every node.
		Kind string `json:"kind"`
	} `json:"deployment"`
	Service struct {
		// Spec is merged into that of the Service.
		Spec map[string]any `json:"spec"`
	} `json:"service"`
	// NodeSelector is merged into that of the pods.
	NodeSelector map[string]string `json:"nodeSelector"`
}

// ParseChartValues reads a HelmChartConfig's valuesContent. Another value than the known ones is an error: it would have an effect in k3s.
func ParseChartValues(text string) (ChartValues, error) {
	values := ChartValues{}
	values.Deployment.Kind = "Deployment"
	if err := yaml.UnmarshalStrict([]byte(text), &values); err != nil {
		return values, fmt.Errorf("values that this build of k3s does not know: %w", err)
	}
	if kind := values.Deployment.Kind; kind != "Deployment" && kind != "DaemonSet" {
		return values, fmt.Errorf("deployment.kind is %q, neither Deployment nor DaemonSet", kind)
	}
	return values, nil
}

// Configure gives the objects of a chart with these values, and those that an installation with other values may have left.
func Configure(objects []*unstructured.Unstructured, values ChartValues) (wanted, stale []*unstructured.Unstructured, err error) {
	for _, o := range objects {
		o = o.DeepCopy()
		switch o.GetKind() {
		case "Service":
			spec, _, err := unstructured.NestedMap(o.Object, "spec")
			if err != nil {
				return nil, nil, err
			}
			for key, value := range values.Service.Spec {
				spec[key] = value
			}
			o.Object["spec"] = spec
		case "Deployment":
			if err := selectNodes(o, values.NodeSelector); err != nil {
				return nil, nil, err
			}
			daemons := o.DeepCopy()
			daemons.SetKind("DaemonSet")
			unstructured.RemoveNestedField(daemons.Object, "spec", "replicas")
			if strategy, found, _ := unstructured.NestedMap(o.Object, "spec", "strategy"); found {
				unstructured.RemoveNestedField(daemons.Object, "spec", "strategy")
				if err := unstructured.SetNestedMap(daemons.Object, strategy, "spec", "updateStrategy"); err != nil {
					return nil, nil, err
				}
			}
			if values.Deployment.Kind == "DaemonSet" {
				o, daemons = daemons, o
			}
			stale = append(stale, daemons)
		}
		wanted = append(wanted, o)
	}
	return wanted, stale, nil
}

// selectNodes adds labels to those that a node of the object's pods must have.
func selectNodes(o *unstructured.Unstructured, labels map[string]string) error {
	if len(labels) == 0 {
		return nil
	}
	path := []string{"spec", "template", "spec", "nodeSelector"}
	selector, _, err := unstructured.NestedStringMap(o.Object, path...)
	if err != nil {
		return err
	}
	if selector == nil {
		selector = map[string]string{}
	}
	maps.Copy(selector, labels)
	return unstructured.SetNestedStringMap(o.Object, selector, path...)
}

// chartValues reads the valuesContent of a chart's HelmChartConfig; empty without one.
func (c *Controller) chartValues(ctx context.Context, chart string) (string, error) {
	found, err := c.client.Resource(helmChartConfigs).Namespace(metav1.NamespaceSystem).Get(ctx, chart, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	values, _, err := unstructured.NestedString(found.Object, "spec", "valuesContent")
	return values, err
}

// applyChart applies the objects of a chart, and deletes those that its values no longer give.
func (c *Controller) applyChart(ctx context.Context, objects []*unstructured.Unstructured, values string) error {
	parsed, err := ParseChartValues(values)
	if err != nil {
		return err
	}
	wanted, stale, err := Configure(objects, parsed)
	if err != nil {
		return err
	}
	return errors.Join(c.apply(ctx, wanted), c.delete(ctx, stale))
}
