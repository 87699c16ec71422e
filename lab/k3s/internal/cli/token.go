// Package cli holds the sub-commands that show or change a machine's part of the cluster: token, certificate, etcd-snapshot, crictl.
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	bootstrapapi "k8s.io/cluster-bootstrap/token/api"
	bootstraputil "k8s.io/cluster-bootstrap/token/util"
	bootstraptoken "k8s.io/kubernetes/cmd/kubeadm/app/apis/bootstraptoken/v1"

	"edge-ai/lab/k3s/internal/routes"
	"edge-ai/lab/k3s/internal/token"
)

const tokenUsage = `Usage: k3s token COMMAND [OPTIONS]

  create [TOKEN] [--ttl 24h] [--description TEXT]   create a bootstrap token with which agents can join
  list                                              list bootstrap tokens
  delete ID...                                      delete bootstrap tokens
  generate                                          print a random token; nothing is stored
  rotate [--token OLD] --new-token NEW              change the server's token; afterwards restart every node with it

Options: --data-dir /var/lib/rancher/k3s, --kubeconfig FILE; of rotate: --data-dir, --server https://127.0.0.1:6443
`

// Token is `k3s token`.
func Token(args []string) error {
	if wantsHelp(args) {
		fmt.Print(tokenUsage)
		return nil
	}
	command := args[0]
	if command == "rotate" {
		return rotateToken(args[1:])
	}
	flags := flag.NewFlagSet("k3s token "+command, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	dataDir := dataDirFlag(flags)
	kubeconfig := flags.String("kubeconfig", "", "")
	ttl := flags.Duration("ttl", 24*time.Hour, "")
	description := flags.String("description", "", "")
	rest, err := parseMixed(flags, args[1:])
	if err != nil {
		return err
	}
	if command == "generate" {
		fresh, err := bootstraputil.GenerateBootstrapToken()
		if err != nil {
			return err
		}
		fmt.Println(fresh)
		return nil
	}
	if *kubeconfig == "" {
		*kubeconfig = filepath.Join(*dataDir, "server", "cred", "admin.kubeconfig")
	}
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	switch command {
	case "create":
		return createToken(ctx, client, config.CAData, config.CAFile, rest, *ttl, *description)
	case "list":
		return listTokens(ctx, client)
	case "delete":
		if len(rest) == 0 {
			return errors.New("missing token ID")
		}
		for _, id := range rest {
			id, _, _ = strings.Cut(id, ".")
			if err := client.CoreV1().Secrets(metav1.NamespaceSystem).Delete(ctx, bootstraputil.BootstrapTokenSecretName(id), metav1.DeleteOptions{}); err != nil {
				return err
			}
			fmt.Printf("bootstrap token %q deleted\n", id)
		}
		return nil
	}
	return fmt.Errorf("unknown command %q\n%s", command, tokenUsage)
}

// rotateToken asks a server to change the cluster's token. Without a new one the server makes one, to be read from its
// file.
func rotateToken(args []string) error {
	flags := flag.NewFlagSet("k3s token rotate", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	server := newAccess(flags)
	fresh := flags.String("new-token", "", "")
	if rest, err := parseMixed(flags, args); err != nil {
		return err
	} else if len(rest) > 0 {
		return fmt.Errorf("unexpected argument %q", rest[0])
	}
	fmt.Println("\033[33mWARNING\033[0m: Recommended to keep a record of the old token. If restoring from a snapshot, " +
		"you must use the token associated with that snapshot.")
	body, err := json.Marshal(routes.TokenRequest{NewToken: *fresh})
	if err != nil {
		return err
	}
	if _, err := server.call(context.Background(), "PUT", "token", body); err != nil {
		return err
	}
	fmt.Println("Token rotated, restart k3s nodes with new token")
	return nil
}

func createToken(ctx context.Context, client kubernetes.Interface, caPEM []byte, caFile string, args []string, ttl time.Duration, description string) error {
	bare, err := bootstraputil.GenerateBootstrapToken()
	if err != nil {
		return err
	}
	if len(args) > 0 {
		t, err := token.Parse(args[0])
		if err != nil {
			return err
		}
		if t.ID == "" {
			return fmt.Errorf("%q is not of the form [a-z0-9]{6}.[a-z0-9]{16}", args[0])
		}
		bare = bootstraputil.TokenFromIDAndSecret(t.ID, t.Secret)
	}
	parts, err := bootstraptoken.NewBootstrapTokenString(bare)
	if err != nil {
		return err
	}
	if len(caPEM) == 0 {
		if caPEM, err = os.ReadFile(caFile); err != nil {
			return err
		}
	}
	secret := bootstraptoken.BootstrapTokenToSecret(&bootstraptoken.BootstrapToken{
		Token:       parts,
		Description: description,
		TTL:         &metav1.Duration{Duration: ttl},
		Usages:      bootstrapapi.KnownTokenUsages,
		Groups:      []string{token.BootstrapGroup},
	})
	if _, err := client.CoreV1().Secrets(secret.Namespace).Create(ctx, secret, metav1.CreateOptions{}); err != nil {
		return err
	}
	full, err := token.FormatBootstrap(caPEM, bare)
	if err != nil {
		return err
	}
	fmt.Println(full)
	return nil
}

func listTokens(ctx context.Context, client kubernetes.Interface) error {
	list, err := client.CoreV1().Secrets(metav1.NamespaceSystem).List(ctx,
		metav1.ListOptions{FieldSelector: "type=" + string(corev1.SecretTypeBootstrapToken)})
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 3, ' ', 0)
	fmt.Fprintln(w, "TOKEN\tTTL\tEXPIRES\tDESCRIPTION")
	for _, s := range list.Items {
		ttl, expires := "<forever>", "<never>"
		if text := string(s.Data["expiration"]); text != "" {
			expires, ttl = text, "<invalid>"
			if at, err := time.Parse(time.RFC3339, text); err == nil {
				ttl = time.Until(at).Round(time.Second).String()
			}
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", s.Data["token-id"], ttl, expires, s.Data["description"])
	}
	return w.Flush()
}

// parseMixed lets flags stand after plain arguments, as k3s does.
func parseMixed(flags *flag.FlagSet, args []string) (rest []string, err error) {
	for {
		if err := flags.Parse(args); err != nil {
			return nil, err
		}
		if flags.NArg() == 0 {
			return rest, nil
		}
		rest = append(rest, flags.Arg(0))
		args = flags.Args()[1:]
	}
}
