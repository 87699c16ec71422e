package certcheck

import (
	"context"
	"strings"
	"time"

	log "github.com/sirupsen/logrus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
)

// Reason is that of the event about a Node whose certificates end soon.
const Reason = "CertificateExpirationWarning"

const (
	interval  = 24 * time.Hour
	component = "k3s-cert-monitor"
)

// Monitor checks the certificates of this machine once a day, until ctx ends, and warns by an event on its Node.
func Monitor(ctx context.Context, client kubernetes.Interface, dataDir, node string) {
	wait.UntilWithContext(ctx, func(ctx context.Context) {
		if err := warn(ctx, client, dataDir, node, time.Now()); err != nil {
			log.Warnf("Failed to report certificates that end soon: %v", err)
		}
	}, interval)
}

func warn(ctx context.Context, client kubernetes.Interface, dataDir, node string, now time.Time) error {
	services, err := Services(dataDir, nil)
	if err != nil {
		return err
	}
	var lines []string
	for _, c := range Look(dataDir, services, now) {
		if c.Status != OK {
			log.Warn(c)
			lines = append(lines, c.String())
		}
	}
	if len(lines) == 0 {
		return nil
	}
	at := metav1.NewTime(now)
	_, err = client.CoreV1().Events(metav1.NamespaceDefault).Create(ctx, &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{GenerateName: node + "."},
		InvolvedObject: corev1.ObjectReference{Kind: "Node", Name: node, UID: types.UID(node)},
		Type:           corev1.EventTypeWarning,
		Reason:         Reason,
		Message: "Node certificates require attention - restart k3s on this node to trigger automatic rotation: " +
			shorten(strings.Join(lines, ", ")),
		Source:         corev1.EventSource{Component: component, Host: node},
		FirstTimestamp: at,
		LastTimestamp:  at,
		Count:          1,
	}, metav1.CreateOptions{})
	return err
}

// shorten keeps a text below the API's limit of 1024 characters for an event's message.
func shorten(text string) string {
	const limit = 900
	if len(text) <= limit {
		return text
	}
	return text[:limit] + "..."
}
