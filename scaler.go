package flow

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/flowkit-go/flow/autoscale/keda"
)

// DefaultScalerAddr is where the command scaler listens.
const DefaultScalerAddr = "127.0.0.1:9660"

// The environment variables of the command scaler.
const (
	scalerVar = "FLOW_SCALER"
	peersVar  = "FLOW_PEERS"
)

// scalerCommand tells KEDA how many processes of the flow there should be.
func (f *Flow) scalerCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "scaler", Short: "Tell KEDA how many processes of the flow are wanted",
		Long: `Serve KEDA's external scaler interface (gRPC): for each processor the number of
processes that are wanted, by the same rules that size the replicas inside of one,
over all processes of the flow. It runs none of the processors.

It asks the broker where that knows how far all processes are, and the processes named
by --peers for their replicas and CPU. Without --peers it counts in processes, and the
number falls only when nothing is left to do. With --once it measures for a while,
prints what it comes to, and ends.`,
		Args: noArguments, RunE: f.runScaler,
	}
	cmd.Flags().String("listen", "", "address to serve at, default "+scalerVar+" or "+DefaultScalerAddr)
	cmd.Flags().StringSlice("peers", nil, "admin addresses of the processes, as flow-bill.default.svc:9650, where a name may stand for many; default "+peersVar)
	cmd.Flags().Duration("poll", keda.DefaultPoll, "time between two looks")
	cmd.Flags().Duration("idle", keda.DefaultIdle, "time without anything to do after which a processor is not active")
	cmd.Flags().Bool("once", false, "print what is wanted now, in words, and end")
	cmd.Flags().Duration("window", 10*time.Second, "time to measure for with --once")
	cmd.Flags().Bool("json", false, "log as JSON")
	return cmd
}

func (f *Flow) runScaler(cmd *cobra.Command, _ []string) (err error) {
	s, err := f.session(cmd)
	if err != nil {
		return err
	}
	defer s.close()
	once, _ := cmd.Flags().GetBool("once")
	cfg, err := s.scalerConfig()
	if err != nil {
		return err
	}
	groups := s.groups(cfg.Processors)
	defer func() {
		for _, g := range groups {
			closing(g, &err)
		}
	}()
	if len(groups) == 0 && len(cfg.Peers.Addresses) == 0 {
		return usageError{fmt.Errorf("no source of the flow tells how far all its processes are: name the processes by --peers or %s, as flow-bill.default.svc:9650", peersVar)}
	}
	if once {
		return s.scaleOnce(cfg)
	}
	scaler, err := keda.New(cfg)
	if err != nil {
		return usageError{err}
	}
	listen, _ := cmd.Flags().GetString("listen")
	listen = cmp.Or(listen, os.Getenv(scalerVar), DefaultScalerAddr)
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return usageError{fmt.Errorf("scaler: listen on %s: %w: set --listen or %s", listen, err, scalerVar)}
	}
	fmt.Fprintf(cmd.OutOrStdout(), "flow %s\n  scaler   %s  gRPC for KEDA; /state for people\n", f.name, l.Addr())
	return scaler.Serve(s.ctx, l)
}

// scalerConfig is what follows from the flow, the flags and the environment.
func (s *verbSession) scalerConfig() (keda.Config, error) {
	flags := s.cmd.Flags()
	cfg := keda.Config{Flow: s.flow.name, Peers: &keda.Peers{}, Logger: s.flow.opts.logger}
	cfg.Poll, _ = flags.GetDuration("poll")
	cfg.Idle, _ = flags.GetDuration("idle")
	if cfg.Poll < time.Millisecond || cfg.Idle <= 0 {
		return cfg, usageError{fmt.Errorf("--poll is %v and --idle %v, want at least 1ms, and more than 0", cfg.Poll, cfg.Idle)}
	}
	if cfg.Logger == nil {
		opts := &slog.HandlerOptions{Level: slog.LevelInfo}
		cfg.Logger = slog.New(slog.NewTextHandler(s.cmd.ErrOrStderr(), opts))
		if asJSON, _ := flags.GetBool("json"); asJSON {
			cfg.Logger = slog.New(slog.NewJSONHandler(s.cmd.ErrOrStderr(), opts))
		}
	}
	peers, _ := flags.GetStringSlice("peers")
	if len(peers) == 0 {
		peers = strings.Split(os.Getenv(peersVar), ",")
	}
	for _, p := range peers {
		if p = strings.TrimSpace(p); p != "" {
			cfg.Peers.Addresses = append(cfg.Peers.Addresses, p)
		}
	}
	if err := cfg.Peers.Validate(); err != nil {
		return cfg, usageError{err}
	}
	for _, p := range s.flow.processors {
		spec := &p.effective.spec
		cfg.Processors = append(cfg.Processors, keda.Processor{
			Name: p.name(), Requests: p.kind != KindConsumer,
			Limits: spec.limits, NumCPUs: spec.cpus, Tasks: spec.tasks,
			InOrder: p.kind == KindConsumer && spec.order == ByPartition,
		})
	}
	if len(cfg.Processors) == 0 {
		return cfg, usageError{errors.New("the flow has no Consumer, Collector or Endpoint that could be scaled")}
	}
	return cfg, nil
}

// scaleOnce measures for a while and prints the decisions.
func (s *verbSession) scaleOnce(cfg keda.Config) error {
	window, _ := s.cmd.Flags().GetDuration("window")
	if window < time.Second {
		return usageError{fmt.Errorf("--window is %v, want at least 1s", window)}
	}
	cfg.Idle, cfg.Poll = window, window/10
	cfg.Logger = slog.New(slog.DiscardHandler) // all that it would say is printed
	for i := range cfg.Processors {
		cfg.Processors[i].Limits.Frequency = window
	}
	scaler, err := keda.New(cfg)
	if err != nil {
		return usageError{err}
	}
	defer scaler.Close()
	scaler.Look(s.ctx)
	timer := time.NewTimer(window)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.ctx.Done():
		return context.Cause(s.ctx)
	}
	scaler.Look(s.ctx)
	var failed []error
	for _, st := range scaler.States() {
		active, err := scaler.Active(st.Processor, 0)
		if err != nil {
			return err
		}
		if st.Error != "" {
			failed = append(failed, fmt.Errorf("%s: %s", st.Processor, st.Error))
			continue
		}
		tellState(s.cmd.OutOrStdout(), st, active)
	}
	return errors.Join(failed...)
}

// tellState prints what is known of a processor, in words.
func tellState(w io.Writer, st keda.State, active bool) {
	number := func(v *float64, unit string) string {
		if v == nil {
			return "not known"
		}
		if *v >= 1000 {
			return fmt.Sprintf("%.0f%s", *v, unit)
		}
		return fmt.Sprintf("%.3g%s", *v, unit)
	}
	does := "nothing to do"
	if active {
		does = "active"
	}
	fmt.Fprintf(w, "%s: %d wanted, %d processes run, %s\n", st.Processor, st.Wanted, st.Processes, does)
	if st.Replicas != st.Processes {
		fmt.Fprintf(w, "  replicas    %d in all\n", st.Replicas)
	}
	if st.Ongoing != nil {
		fmt.Fprintf(w, "  in progress %s\n", number(st.Ongoing, ""))
	}
	backlog := number(st.Backlog, "")
	if st.Shared {
		backlog += ", the largest that a process tells, as they read one source"
	}
	fmt.Fprintf(w, "  backlog     %s\n  throughput  %s\n", backlog, number(st.Throughput, "/s"))
	if st.Partitions > 0 {
		fmt.Fprintf(w, "  partitions  %d\n", st.Partitions)
	}
	for _, peer := range st.Unanswered {
		fmt.Fprintf(w, "  not known   %s\n", peer)
	}
	fmt.Fprintf(w, "  %s: %s\n", st.Decision.Rule, st.Decision.Reason)
}
