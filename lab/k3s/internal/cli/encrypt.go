package cli

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"strings"

	"edge-ai/lab/k3s/internal/encryption"
)

const encryptUsage = `Usage: k3s secrets-encrypt status [-o text|json] [OPTIONS]

Options: --server https://127.0.0.1:6443, --token TOKEN (default: the server's file), --data-dir /var/lib/rancher/k3s
`

// SecretsEncrypt is `k3s secrets-encrypt`, of which there is only the report.
func SecretsEncrypt(args []string) error {
	if wantsHelp(args) {
		fmt.Print(encryptUsage)
		return nil
	}
	command := args[0]
	flags := flag.NewFlagSet("k3s secrets-encrypt "+command, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	server := newAccess(flags)
	output := flags.String("output", "text", "")
	flags.StringVar(output, "o", "text", "")
	if rest, err := parseMixed(flags, args[1:]); err != nil {
		return err
	} else if len(rest) > 0 {
		return fmt.Errorf("unexpected argument %q", rest[0])
	}
	if command != "status" {
		return fmt.Errorf("this lab build has no secrets-encrypt %s: choose secrets-encryption when the cluster is created", command)
	}
	data, err := server.call(context.Background(), "GET", "encrypt/status", nil)
	if err != nil {
		return fmt.Errorf("see server log for details: %w", err)
	}
	var status encryption.Status
	if err := json.Unmarshal(data, &status); err != nil {
		return err
	}
	if strings.ToLower(*output) == "json" {
		text, err := json.MarshalIndent(status, "", "\t")
		if err != nil {
			return err
		}
		fmt.Println(string(text))
		return nil
	}
	fmt.Print(encryptionText(status))
	return nil
}

func encryptionText(s encryption.Status) string {
	if s.Enable == nil {
		return "Encryption Status: Disabled, no configuration file found\n"
	}
	var b strings.Builder
	word := "Disabled"
	if *s.Enable {
		word = "Enabled"
	}
	hashes := "All hashes match"
	if !s.HashMatch {
		hashes = s.HashError
	}
	fmt.Fprintf(&b, "Encryption Status: %s\nCurrent Rotation Stage: %s\nServer Encryption Hashes: %s\n\n", word, s.Stage, hashes)
	fmt.Fprintf(&b, "Active  Key Type  Name\n------  --------  ----\n")
	if s.ActiveKey != "" {
		kind, name, _ := strings.Cut(s.ActiveKey, " ")
		fmt.Fprintf(&b, " *      %-8s  %s\n", kind, name)
	}
	for _, k := range s.InactiveKeys {
		kind, name, _ := strings.Cut(k, " ")
		fmt.Fprintf(&b, "        %-8s  %s\n", kind, name)
	}
	return b.String()
}
