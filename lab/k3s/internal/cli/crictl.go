package cli

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const crictlUsage = `Usage: k3s crictl [--runtime-endpoint unix://SOCKET] COMMAND [OPTIONS]

A small part of crictl, which is not a module that can be built in here:
  images [-o json]      list images
  ps [-a] [-o json]     list containers (-a: also those that ended)
  pods [-o json]        list pod sandboxes
  info                  state of the runtime as JSON
  version               version of the runtime
  rmi IMAGE...          remove images
`

// Crictl is `k3s crictl`: the sub-commands that our roles and tests use, by the CRI API.
func Crictl(args []string, socket string) error {
	global := flag.NewFlagSet("crictl", flag.ContinueOnError)
	global.SetOutput(io.Discard)
	endpoint := global.String("runtime-endpoint", "unix://"+socket, "")
	global.StringVar(endpoint, "r", *endpoint, "")
	if err := global.Parse(args); err != nil {
		return fmt.Errorf("%w\n%s", err, crictlUsage)
	}
	if global.NArg() == 0 || global.Arg(0) == "help" {
		fmt.Print(crictlUsage)
		return nil
	}
	command := global.Arg(0)
	flags := flag.NewFlagSet("crictl "+command, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	output := flags.String("output", "table", "")
	flags.StringVar(output, "o", "table", "")
	all := flags.Bool("all", false, "")
	flags.BoolVar(all, "a", false, "")
	rest, err := parseMixed(flags, global.Args()[1:])
	if err != nil {
		return fmt.Errorf("%w\n%s", err, crictlUsage)
	}
	conn, err := grpc.NewClient(*endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	c := &crictl{runtime: cri.NewRuntimeServiceClient(conn), images: cri.NewImageServiceClient(conn), json: *output == "json"}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	switch command {
	case "images", "image", "img":
		return c.listImages(ctx)
	case "ps":
		return c.listContainers(ctx, *all)
	case "pods":
		return c.listPods(ctx)
	case "info":
		return c.info(ctx)
	case "version":
		return c.version(ctx)
	case "rmi":
		return c.removeImages(ctx, rest)
	}
	return fmt.Errorf("this lab build has no crictl %s\n%s", command, crictlUsage)
}

type crictl struct {
	runtime cri.RuntimeServiceClient
	images  cri.ImageServiceClient
	json    bool
}

func printJSON(m proto.Message) error {
	text, err := protojson.MarshalOptions{Multiline: true, Indent: "  ", EmitUnpopulated: true}.Marshal(m)
	if err != nil {
		return err
	}
	fmt.Println(string(text))
	return nil
}

func table(header string, rows [][]string) error {
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 4, ' ', 0)
	fmt.Fprintln(w, header)
	for _, r := range rows {
		fmt.Fprintln(w, strings.Join(r, "\t"))
	}
	return w.Flush()
}

func short(id string) string {
	id = strings.TrimPrefix(id, "sha256:")
	return id[:min(13, len(id))]
}

func age(nanoseconds int64) string {
	return time.Since(time.Unix(0, nanoseconds)).Round(time.Second).String() + " ago"
}

func (c *crictl) listImages(ctx context.Context) error {
	answer, err := c.images.ListImages(ctx, &cri.ListImagesRequest{})
	if err != nil {
		return err
	}
	if c.json {
		return printJSON(answer)
	}
	var rows [][]string
	for _, i := range answer.Images {
		names := i.RepoTags
		if len(names) == 0 {
			names = []string{"<none>:<none>"}
		}
		for _, n := range names {
			at := strings.LastIndex(n, ":")
			rows = append(rows, []string{n[:at], n[at+1:], short(i.Id), fmt.Sprintf("%.1fMB", float64(i.Size)/1e6)})
		}
	}
	return table("IMAGE\tTAG\tIMAGE ID\tSIZE", rows)
}

func (c *crictl) listContainers(ctx context.Context, all bool) error {
	request := &cri.ListContainersRequest{}
	if !all {
		request.Filter = &cri.ContainerFilter{State: &cri.ContainerStateValue{State: cri.ContainerState_CONTAINER_RUNNING}}
	}
	answer, err := c.runtime.ListContainers(ctx, request)
	if err != nil {
		return err
	}
	if c.json {
		return printJSON(answer)
	}
	var rows [][]string
	for _, o := range answer.Containers {
		state := strings.TrimPrefix(o.State.String(), "CONTAINER_")
		rows = append(rows, []string{short(o.Id), short(o.Image.GetImage()), age(o.CreatedAt), state[:1] + strings.ToLower(state[1:]),
			o.Metadata.GetName(), fmt.Sprint(o.Metadata.GetAttempt()), short(o.PodSandboxId), o.Labels["io.kubernetes.pod.name"],
			o.Labels["io.kubernetes.pod.namespace"]})
	}
	return table("CONTAINER\tIMAGE\tCREATED\tSTATE\tNAME\tATTEMPT\tPOD ID\tPOD\tNAMESPACE", rows)
}

func (c *crictl) listPods(ctx context.Context) error {
	answer, err := c.runtime.ListPodSandbox(ctx, &cri.ListPodSandboxRequest{})
	if err != nil {
		return err
	}
	if c.json {
		return printJSON(answer)
	}
	var rows [][]string
	for _, p := range answer.Items {
		state := "NotReady"
		if p.State == cri.PodSandboxState_SANDBOX_READY {
			state = "Ready"
		}
		rows = append(rows, []string{short(p.Id), age(p.CreatedAt), state, p.Metadata.GetName(), p.Metadata.GetNamespace(),
			fmt.Sprint(p.Metadata.GetAttempt())})
	}
	return table("POD ID\tCREATED\tSTATE\tNAME\tNAMESPACE\tATTEMPT", rows)
}

func (c *crictl) info(ctx context.Context) error {
	answer, err := c.runtime.Status(ctx, &cri.StatusRequest{Verbose: true})
	if err != nil {
		return err
	}
	// The verbose part is text that holds JSON itself; crictl unfolds it too.
	out := map[string]any{"status": answer.Status}
	for k, v := range answer.Info {
		if json.Valid([]byte(v)) {
			out[k] = json.RawMessage(v)
		} else {
			out[k] = v
		}
	}
	text, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		return err
	}
	fmt.Println(string(text))
	return nil
}

func (c *crictl) version(ctx context.Context) error {
	v, err := c.runtime.Version(ctx, &cri.VersionRequest{})
	if err != nil {
		return err
	}
	fmt.Printf("Version:  %s\nRuntimeName:  %s\nRuntimeVersion:  %s\nRuntimeApiVersion:  %s\n", v.Version, v.RuntimeName, v.RuntimeVersion, v.RuntimeApiVersion)
	return nil
}

func (c *crictl) removeImages(ctx context.Context, names []string) error {
	for _, n := range names {
		status, err := c.images.ImageStatus(ctx, &cri.ImageStatusRequest{Image: &cri.ImageSpec{Image: n}})
		if err != nil {
			return err
		}
		if status.Image == nil {
			return fmt.Errorf("no such image %s", n)
		}
		if _, err := c.images.RemoveImage(ctx, &cri.RemoveImageRequest{Image: &cri.ImageSpec{Image: status.Image.Id}}); err != nil {
			return err
		}
		fmt.Printf("Deleted: %s\n", n)
	}
	return nil
}
