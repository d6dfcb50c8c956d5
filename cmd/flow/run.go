package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/runtime"
)

func runCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "run [PKG] [-- ARGS]", Short: "Build and run a flow, and again on every change",
		Long: `Build the package (default ".") and run its flow. When a file changes that the
program is built from, it is built again. The new program takes the place of the
old one only when it compiles and its check passes: requests wait, the old one
drains and ends, the new one starts. No request and no queued record is lost.

A program that uses Kafka gets a broker inside of this process, with its topics in
the data folder, unless KAFKA_BROKERS is set.

The first Ctrl-C drains the flow, the second stops it at once. When the input of a
flow ends, flow run ends with it.`,
		Example: "  flow run ./examples/quakes\n  flow run --http :8080 --replicas bill=4",
		RunE:    run,
	}
	f := cmd.Flags()
	f.Bool("watch", true, "build and replace the program when its source changes")
	f.String("http", "", `address of collectors and endpoints, "off" for none; default FLOW_HTTP, else what the flow says`)
	f.String("admin", "", `address of health, metrics and state, "off" for none; default FLOW_ADMIN, else what the flow says`)
	f.String("data", "", "folder for the state of embedded queues and tables; default FLOW_DATA or .flow")
	f.StringArray("replicas", nil, "number of replicas of a processor, as bill=4; may be repeated")
	f.Bool("json", false, "log as JSON")
	f.Bool("race", false, "build with the race detector")
	envFileFlag(cmd)
	return cmd
}

// run reads the flags, builds the program for the first time, and hands over to
// a session.
func run(cmd *cobra.Command, args []string) error {
	s, err := newSession(cmd, args)
	if err != nil {
		return err
	}
	defer s.builder.close()
	defer s.local.close()
	defer func() { s.fronts.each(func(f *front) { f.close(2 * time.Second) }) }()
	stop := s.signals()
	defer stop()

	first, err := s.builder.build(s.ctx)
	if err == nil {
		err = s.prepare(s.ctx, first)
	}
	if s.ctx.Err() != nil {
		return nil // interrupted before anything has started
	}
	if err != nil {
		return explain(cmd, err)
	}
	if s.verbs = first.verbs; s.verbs { // others listen by themselves
		s.adopt(first.graph)
		if err := s.listenAdmin(); err != nil {
			return err
		}
		if err := s.listenHTTP(first.graph); err != nil {
			return err
		}
	}
	var changes <-chan []string
	if s.watching {
		if s.watcher, err = watch(newScope(first.deps, s.envFile)); err != nil {
			return err
		}
		defer s.watcher.close()
		s.scope = first.deps
		changes = s.watcher.changes
	}
	s.announce(first)
	if err := s.start(first); err != nil {
		return err
	}
	return s.loop(changes)
}

func newSession(cmd *cobra.Command, args []string) (*session, error) {
	pkg, rest, err := packageArg(cmd, args)
	if err != nil {
		return nil, err
	}
	t, err := newTarget(pkg)
	if err != nil {
		return nil, err
	}
	f := cmd.Flags()
	s := &session{stdout: cmd.OutOrStdout(), stderr: cmd.ErrOrStderr(), results: make(chan result)}
	s.ctx, s.hard, s.kill = cmd.Context(), cmd.Context(), cmd.Context()
	s.httpFlag, _ = f.GetString("http")
	s.adminFlag, _ = f.GetString("admin")
	s.data, _ = f.GetString("data")
	s.watching, _ = f.GetBool("watch")
	replicas, _ := f.GetStringArray("replicas")
	if s.replicas, err = parseReplicas(replicas); err != nil {
		return nil, err
	}
	asJSON, _ := f.GetBool("json")
	s.talk = newTalk(s.stderr, asJSON)
	s.rest, s.args = rest, []string{"run"}
	if asJSON {
		s.args = append(s.args, "--json")
	}
	s.args = append(s.args, rest...)
	s.terminal = isTerminal(s.stderr)

	s.envName, _ = f.GetString("env-file")
	if s.envFile, err = filepath.Abs(s.envName); err != nil {
		return nil, err
	}
	s.envAsked = f.Changed("env-file")
	env, err := loadEnv(s.envName, s.envAsked)
	if err != nil {
		return nil, err
	}
	s.settle(env)
	s.local = &standIn{dir: s.data, complain: func(text string) { s.talk.warn("%s", text) }}
	flags := []string{"-buildvcs=false"}
	if race, _ := f.GetBool("race"); race {
		flags = append(flags, "-race")
	}
	s.builder, err = newBuilder(t, flags...)
	return s, err
}

// A replicas flag is a processor's name and how many replicas it has.
type replicas struct {
	name string
	n    int
}

func parseReplicas(flags []string) ([]replicas, error) {
	var out []replicas
	for _, f := range flags {
		i := strings.LastIndex(f, "=")
		n, err := strconv.Atoi(f[i+1:])
		if i <= 0 || err != nil || n < 1 {
			return nil, usagef("--replicas %s: want a processor's name and a number of 1 or more, as bill=4", f)
		}
		out = append(out, replicas{f[:i], n})
	}
	return out, nil
}

// signals ends ctx with the first SIGINT or SIGTERM, hard with the second and kill
// with the third.
func (s *session) signals() (stop func()) {
	parent := s.ctx
	var cancels [3]context.CancelFunc
	s.ctx, cancels[0] = context.WithCancel(parent)
	s.hard, cancels[1] = context.WithCancel(parent)
	s.kill, cancels[2] = context.WithCancel(parent)
	got := make(chan os.Signal, len(cancels))
	signal.Notify(got, os.Interrupt, syscall.SIGTERM)
	over, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for _, cancel := range cancels {
			select {
			case <-got:
				cancel()
			case <-over:
				return
			}
		}
	}()
	return func() {
		signal.Stop(got)
		close(over)
		<-done
		for _, cancel := range cancels {
			cancel()
		}
	}
}

// prepare gives a build the environment in which it runs, and checks its flow there.
func (s *session) prepare(ctx context.Context, b *build) error {
	env, err := loadEnv(s.envName, s.envAsked)
	if err != nil {
		return err
	}
	b.env = env.with("FLOW_DATA", s.data)
	if !b.verbs {
		return s.prepareAlone(b)
	}
	own := func(addr string) string { // where the program listens, behind this process
		if addr == "off" {
			return addr
		}
		return "127.0.0.1:0"
	}
	if b.kafka, err = s.local.ask(ctx, b); err != nil {
		return err
	}
	b.env = b.env.with("FLOW_HTTP", own(cmp.Or(s.http, b.graph.HTTP))).
		with("FLOW_ADMIN", own(cmp.Or(s.admin, b.graph.Admin))).with(flow.Announce, "off")
	if len(s.replicas) == 0 {
		return nil
	}
	for _, r := range s.replicas {
		variable, err := replicasVariable(b.graph, r.name)
		if err != nil {
			return err
		}
		b.env = b.env.with(variable, strconv.Itoa(r.n))
	}
	return b.inspect(ctx)
}

// prepareAlone is prepare for a program that does not call flow.Main: it runs as it
// is, on addresses of its own, and is not asked anything.
func (s *session) prepareAlone(b *build) error {
	if len(s.replicas) > 0 {
		return b.needVerbs("--replicas")
	}
	for flag, value := range map[string]string{"FLOW_HTTP": s.httpFlag, "FLOW_ADMIN": s.adminFlag} {
		if value != "" {
			b.env = b.env.with(flag, value)
		}
	}
	b.graph.Flow = filepath.Base(b.root.Dir)
	return nil
}

// settle decides what the flags have left open.
func (s *session) settle(env environment) {
	first := func(values ...string) string {
		for _, v := range values {
			if v != "" {
				return v
			}
		}
		return ""
	}
	s.http, s.admin = s.httpFlag, s.adminFlag
	s.data = first(s.data, env.get("FLOW_DATA"), ".flow")
	if abs, err := filepath.Abs(s.data); err == nil {
		s.data = abs
	}
	s.drain = runtime.DefaultDrainTimeout
}

// adopt takes from the flow itself, its code and its environment, what no flag says.
func (s *session) adopt(g flow.Graph) {
	s.http, s.admin = cmp.Or(s.http, g.HTTP), cmp.Or(s.admin, g.Admin)
	if d, err := time.ParseDuration(g.DrainTimeout); err == nil {
		s.drain = d
	}
}

func replicasVariable(g flow.Graph, name string) (string, error) {
	var names []string
	for _, n := range g.Processors {
		for _, s := range n.Settings {
			if s.Option != "num_replicas" {
				continue
			}
			if n.Name == name {
				return s.Env, nil
			}
			names = append(names, n.Name)
		}
	}
	return "", &buildError{output: fmt.Sprintf("--replicas %s: the flow has no such processor", name),
		hint: "use one of " + strings.Join(names, ", ")}
}

// listenAdmin takes the address of the admin pages.
func (s *session) listenAdmin() (err error) {
	if s.admin != "off" {
		s.fronts.admin, err = listenFront("admin", s.admin, "--admin", false)
	}
	return err
}

// listenHTTP takes the address of collectors and endpoints, once a flow has some.
func (s *session) listenHTTP(g flow.Graph) (err error) {
	answers := slices.ContainsFunc(g.Processors, func(n flow.GraphNode) bool { return n.Pattern != "" })
	if s.fronts.http == nil && answers && s.http != "off" {
		s.fronts.http, err = listenFront("http", s.http, "--http", true)
	}
	return err
}

// errEnded answers requests while no program runs.
var errEnded = errors.New("the flow has ended: see its output")
