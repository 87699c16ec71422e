package cli

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	log "github.com/sirupsen/logrus"
	"go.yaml.in/yaml/v3"

	"edge-ai/lab/k3s/internal/certcheck"
)

const certificateUsage = `Usage: k3s certificate COMMAND [OPTIONS]

  check [--output text|table|json|yaml]   report how long the certificates of this machine are valid; ends with 0
  rotate                                  move certificates and keys to a backup, so that the next start makes new ones;
                                          for a machine whose k3s is stopped

Options: --service NAME[,NAME]... (default all), --data-dir /var/lib/rancher/k3s
`

// Certificate is `k3s certificate`.
func Certificate(args []string) error {
	if wantsHelp(args) {
		fmt.Print(certificateUsage)
		return nil
	}
	command := args[0]
	flags := flag.NewFlagSet("k3s certificate "+command, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	dataDir := dataDirFlag(flags)
	var services []string
	choose := func(v string) error {
		services = append(services, strings.Split(v, ",")...)
		return nil
	}
	flags.Func("service", "", choose)
	flags.Func("s", "", choose)
	output := flags.String("output", "text", "")
	flags.StringVar(output, "o", "text", "")
	rest, err := parseMixed(flags, args[1:])
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return fmt.Errorf("unexpected argument %q", rest[0])
	}
	all := len(services) == 0
	if services, err = certcheck.Services(*dataDir, services); err != nil {
		return err
	}
	if all {
		log.Infof("Certificates of %s", strings.Join(services, ", "))
	}
	switch command {
	case "check":
		return printCertificates(os.Stdout, *output, certcheck.Look(*dataDir, services, time.Now()))
	case "rotate":
		backup, err := certcheck.Rotate(*dataDir, services, time.Now())
		if err != nil {
			return err
		}
		log.Infof("Successfully backed up certificates to %s, please restart k3s server or agent to rotate certificates", backup)
		return nil
	case "rotate-ca":
		return fmt.Errorf("this lab build has no certificate rotate-ca")
	}
	return fmt.Errorf("unknown command %q\n%s", command, certificateUsage)
}

// printCertificates writes what k3s writes; the text form is lines of the log.
func printCertificates(w io.Writer, format string, list []certcheck.Certificate) error {
	if list == nil {
		list = []certcheck.Certificate{}
	}
	switch format {
	case "text":
		for _, c := range list {
			switch c.Status {
			case certcheck.OK:
				log.Info(c)
			case certcheck.Warning:
				log.Warn(c)
			default:
				log.Error(c)
			}
		}
		return nil
	case "json":
		return json.NewEncoder(w).Encode(map[string]any{"Certificates": list})
	case "yaml":
		return yaml.NewEncoder(w).Encode(map[string]any{"certificates": list})
	case "table":
		t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
		fmt.Fprint(t, "\nFILENAME\tSUBJECT\tUSAGES\tEXPIRES\tRESIDUAL TIME\tSTATUS\n")
		fmt.Fprint(t, "--------\t-------\t------\t-------\t-------------\t------\n")
		for _, c := range list {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d days\t%s\n", c.Filename, c.Subject, strings.Join(c.Usages, ","),
				c.ExpiryTime.Format("Jan 02, 2006 15:04 MST"), int(c.ResidualTime.Hours()/24), c.Status)
		}
		return t.Flush()
	}
	return fmt.Errorf("invalid output format %s", format)
}
