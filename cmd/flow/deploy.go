package main

import (
	"bytes"
	"cmp"
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"github.com/spf13/cobra"

	"github.com/flowkit-go/flow"
)

//go:embed deploy
var deployFiles embed.FS

// deployCommand prints what a flow is deployed with. It asks the program for its
// structure, by ask, and reaches no cluster and no registry.
func deployCommand(ask describer) *cobra.Command {
	cmd := &cobra.Command{
		Use: "deploy", Short: "Print what a flow is deployed with: Kubernetes manifests, a Dockerfile, a systemd unit",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("%q is not a command of deploy: use one of k8s, dockerfile, systemd", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	k8s := &cobra.Command{
		Use: "k8s [PKG]", Short: "Print the Kubernetes manifests of a flow",
		Long: `Print the Kubernetes manifests of a flow: Deployment, Services, PodDisruptionBudget and,
where a consumer can scale, a KEDA ScaledObject with the scaler that it asks. What you
have to decide is a comment that begins with "# >". Options that the environment or the
env file sets are carried over.`,
		Example: "  flow deploy k8s --image registry.example.com/shop:1.4.0 | kubectl apply -f -\n  flow deploy k8s ./cmd/shop --per-processor --out k8s",
		RunE:    printing(ask, deployK8s),
	}
	f := k8s.Flags()
	f.String("name", "", "name of the Deployment, and beginning of the others; default that of the flow")
	f.String("namespace", "default", "namespace of everything")
	f.String("image", "", "image of the program; default NAME:latest, which most clusters cannot pull")
	f.String("out", "-", "folder for one file per object; - prints all of them")
	f.Bool("per-processor", false, "one Deployment per consumer, and one for all that answers requests; default one for all processors")
	f.Bool("no-keda", false, "no ScaledObject and no scaler")
	f.Int("max-pods", defaultMaxPods, "pods of a Deployment that scales, at most")
	f.String("data", "", `size of the volume for the data folder, or "none"; default 1Gi where a primitive keeps its state there`)

	dockerfile := &cobra.Command{
		Use: "dockerfile [PKG]", Short: "Print a Dockerfile: a static program in an image without a shell",
		Example: "  flow deploy dockerfile > Dockerfile && docker build -t shop .",
		RunE:    printing(ask, deployDockerfile),
	}
	dockerfile.Flags().String("out", "-", "file to write; - prints it")

	systemd := &cobra.Command{
		Use: "systemd [PKG]", Short: "Print a systemd unit",
		Example: "  flow deploy systemd > /etc/systemd/system/shop.service",
		RunE:    printing(ask, deploySystemd),
	}
	systemd.Flags().String("out", "-", "file to write; - prints it")
	systemd.Flags().String("name", "", "name of the unit; default that of the flow")
	systemd.Flags().String("exec", "", "path of the program; default /usr/local/bin/NAME")

	for _, c := range []*cobra.Command{k8s, dockerfile, systemd} {
		envFileFlag(c)
		cmd.AddCommand(c)
	}
	return cmd
}

// printing is a command that prints something of a flow. It looks at its flags before
// it asks for the flow, which takes longer.
func printing(ask describer, print func(cmd *cobra.Command, ask func() (described, error)) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		return print(cmd, func() (described, error) { return ask(cmd, args) })
	}
}

// A describer makes out a flow from a command's flags and arguments.
type describer func(*cobra.Command, []string) (described, error)

// A described flow is what a deployment is made from.
type described struct {
	graph flow.Graph
	root  listed
	deps  []listed
	env   environment
}

// describe builds the package of a command and asks it for its structure.
func describe(cmd *cobra.Command, args []string) (described, error) {
	pkg, rest, err := packageArg(cmd, args)
	if err != nil {
		return described{}, err
	}
	if len(rest) > 0 {
		return described{}, usagef("%s takes no arguments for the program, and %s is given", cmd.CommandPath(), strings.Join(rest, " "))
	}
	t, err := newTarget(pkg)
	if err != nil {
		return described{}, err
	}
	env, err := environmentOf(cmd)
	if err != nil {
		return described{}, err
	}
	ctx, built, done, err := buildFor(cmd, t, "-buildvcs=false")
	if err != nil {
		return described{}, err
	}
	defer done()
	return built.describe(ctx, cmd, env)
}

// describe asks a program for its structure in that environment.
func (b *build) describe(ctx context.Context, cmd *cobra.Command, env environment) (described, error) {
	// A deployed program runs what its manifest says, not what this shell does.
	b.env = env.with("FLOW_ONLY", "")
	if err := b.inspect(ctx); err != nil {
		return described{}, explain(cmd, err)
	}
	return described{graph: b.graph, root: b.root, deps: b.deps, env: env}, nil
}

// nameFlag is --name, "" when it is not given.
func nameFlag(cmd *cobra.Command) (string, error) {
	name, _ := cmd.Flags().GetString("name")
	if name != "" && dnsLabel(longestName, name) != name {
		return "", usagef("--name %s: want at most %d lower-case letters, digits and -, a letter first, as shop", name, longestName)
	}
	return name, nil
}

// name is what the flow's name makes of a deployment's.
func (d described) name() string { return dnsLabel(longestName, d.graph.Flow) }

// fillIn executes a template of the folder deploy.
func fillIn(name string, data any) ([]byte, error) {
	all, err := template.New("").Funcs(template.FuncMap{"q": quoted, "join": strings.Join, "replicas": replicasOf}).ParseFS(deployFiles, "deploy/*.tmpl")
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	if err := all.ExecuteTemplate(&text, name+".tmpl", data); err != nil {
		return nil, fmt.Errorf("fill in %s: %w", name, err)
	}
	return text.Bytes(), nil
}

// quoted is a YAML scalar in double quotes: the escapes of Go are among those of YAML.
func quoted(s string) string { return fmt.Sprintf("%q", s) }

// emit writes what was printed to the file of --out, or to stdout.
func emit(cmd *cobra.Command, text []byte) error {
	out, _ := cmd.Flags().GetString("out")
	if out == "-" {
		_, err := cmd.OutOrStdout().Write(text)
		return err
	}
	return writeOut(cmd.ErrOrStderr(), out, text)
}

func writeOut(told io.Writer, path string, text []byte) error {
	if err := os.WriteFile(path, text, 0o644); err != nil {
		return usagef("%s cannot be written: %w: correct --out", path, pathError(err))
	}
	fmt.Fprintf(told, "wrote %s\n", path)
	return nil
}

// writeObjects writes one file per object into the folder of --out, or all of them
// to stdout.
func writeObjects(cmd *cobra.Command, objects []object) error {
	out, _ := cmd.Flags().GetString("out")
	if out == "-" {
		var all bytes.Buffer
		for i, o := range objects {
			if i > 0 {
				all.WriteString("---\n")
			}
			all.Write(o.text)
		}
		_, err := cmd.OutOrStdout().Write(all.Bytes())
		return err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return usagef("folder %s cannot be made: %w: correct --out", out, pathError(err))
	}
	for _, o := range objects {
		if err := writeOut(cmd.ErrOrStderr(), filepath.Join(out, o.file()), o.text); err != nil {
			return err
		}
	}
	return nil
}

// pathError is what went wrong, without the path.
func pathError(err error) error { return cmp.Or(errors.Unwrap(err), err) }
