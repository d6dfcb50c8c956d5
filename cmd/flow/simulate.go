package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/flowkit-go/flow/autoscale/simulate"
)

// A simulation is what the flags of flow simulate say.
type simulation struct {
	options  simulate.Options
	traces   []string
	policies []string
	length   time.Duration
	peak     float64
	svg      string
	markdown bool
	reasons  bool
}

func simulateCommand() *cobra.Command {
	s := simulation{options: simulate.Defaults()}
	l := &s.options.Limits
	cmd := &cobra.Command{
		Use: "simulate [FILE.csv...]", Short: "Play a load against the autoscaler, and others, before production",
		Long: `Play a load against the autoscaler in virtual time, and compare it with BuildFlow's
formula, with Kubernetes' HorizontalPodAutoscaler on CPU, and with KEDA on the length
of the backlog: how long the backlog took longer to work off than the burn threshold,
how many replica-seconds that cost, and how often the pool was resized.

The load is read from files, or generated: step, ramp, diurnal, spikes, poison,
slow-downstream, on-off. A file has lines of

  seconds,rate[,capacity_factor[,failing_share[,shared_limit]]]

each of which holds until the next one; the last one ends the trace.`,
		Example: `  flow simulate
  flow simulate --trace spikes --burn-threshold 30s --frequency 15s --svg spikes.svg
  flow simulate --capacity 250 --cpu 40 --start-delay 30s --max 50 monday.csv`,
		RunE: func(cmd *cobra.Command, files []string) error {
			if l.Start == 0 {
				l.Start = l.Min
			}
			return s.run(cmd.OutOrStdout(), files)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringSliceVar(&s.traces, "trace", nil, "generated traces, of "+strings.Join(simulate.Kinds(), ", ")+" (default all, without files)")
	f.StringSliceVar(&s.policies, "policy", simulate.Policies(), "policies to compare")
	f.DurationVar(&l.BurnThreshold, "burn-threshold", l.BurnThreshold, "consumer_backlog_burn_threshold")
	f.Float64Var(&l.CPUTarget, "cpu-target", l.CPUTarget, "consumer_cpu_percent_target, in percent")
	f.DurationVar(&l.Frequency, "frequency", l.Frequency, "autoscale_frequency_secs, of flow and buildflow")
	f.IntVar(&l.Min, "min", l.Min, "min_replicas")
	f.IntVar(&l.Max, "max", l.Max, "max_replicas")
	l.Start = 0
	f.IntVar(&l.Start, "start", 0, "num_replicas, at the beginning (default --min)")
	f.DurationVar(&l.ScaleDownWindow, "down-window", l.ScaleDownWindow, "autoscale_down_window_secs")
	f.DurationVar(&l.Cooldown, "cooldown", l.Cooldown, "autoscale_cooldown_secs")
	f.Float64Var(&s.options.Capacity, "capacity", s.options.Capacity, "records/s that one replica can handle")
	f.Float64Var(&s.options.CPU, "cpu", s.options.CPU, "CPU percent of a replica that is busy all the time; less where handlers wait for I/O")
	f.DurationVar(&s.options.StartDelay, "start-delay", 0, "time until a new replica works: 0 in one process, about 30s for pods")
	f.Float64Var(&s.options.Backlog, "backlog", 0, "records that wait at the beginning")
	f.Float64Var(&s.peak, "peak", 0, "records/s of generated traces at their busiest (default half of what --max replicas can handle)")
	f.DurationVar(&s.length, "length", 0, "of the traces (default as they are; generated ones 2h, diurnal 24h)")
	f.Uint64Var(&s.options.Seed, "seed", 1, "varies generated traces, and what is measured by chance")
	f.Float64Var(&s.options.HPATarget, "hpa-target", 0, "CPU percent that the HPA aims at (default 80% of --cpu)")
	f.Float64Var(&s.options.KEDALag, "keda-lag", 0, "lagThreshold of KEDA (default --capacity times --burn-threshold)")
	f.DurationVar(&s.options.KEDAPolling, "keda-polling", 0, "polling interval of KEDA where useCachedMetrics is set (default none: the HPA asks every 15s)")
	f.BoolVar(&s.options.Exact, "exact", false, "measure the backlog without the records in flight, which vary by chance")
	f.StringVar(&s.svg, "svg", "", "write a plot into this file")
	f.BoolVar(&s.markdown, "markdown", false, "print the table as Markdown")
	f.BoolVar(&s.reasons, "reasons", false, "print every resize, and why")
	return cmd
}

func (s simulation) run(out io.Writer, files []string) error {
	if len(s.policies) == 0 {
		return usagef("--policy names none, want some of %s", strings.Join(simulate.Policies(), ", "))
	}
	if s.length < 0 {
		return usagef("--length is %v, want it from 1s to %v", s.length, simulate.MaxLength)
	}
	for _, name := range s.policies {
		if !slices.Contains(simulate.Policies(), name) {
			return usagef("--policy has %q, want some of %s", name, strings.Join(simulate.Policies(), ", "))
		}
	}
	if err := s.options.Validate(); err != nil {
		return usageError{err}
	}
	traces, err := s.load(files)
	if err != nil {
		return err
	}
	results, err := simulate.Compare(traces, s.options, s.policies)
	if err != nil {
		return usageError{err}
	}
	if s.svg != "" {
		if err := s.plot(results); err != nil {
			return err
		}
	}
	w := bufio.NewWriter(out)
	if s.reasons {
		for _, r := range results {
			for _, c := range r.Changes {
				fmt.Fprintf(w, "%s %s %v: %d -> %d: %s\n", r.Trace, r.Policy, c.At, c.From, c.To, c.Why)
			}
		}
	}
	write := simulate.WriteTable
	if s.markdown {
		write = simulate.WriteMarkdown
	}
	return errors.Join(write(w, results), w.Flush())
}

// load reads the files and generates the traces.
func (s simulation) load(files []string) ([]simulate.Trace, error) {
	kinds := s.traces
	if len(files) == 0 && len(kinds) == 0 {
		kinds = simulate.Kinds()
	}
	var traces []simulate.Trace
	for _, path := range files {
		t, err := s.read(path)
		if err != nil {
			return nil, err
		}
		traces = append(traces, t)
	}
	load := simulate.Load{Peak: s.peak, Length: s.length, Seed: s.options.Seed}
	if load.Peak == 0 {
		load.Peak = s.options.Capacity * math.Ceil(float64(s.options.Limits.Max)/2)
	}
	for _, kind := range kinds {
		t, err := simulate.Generate(kind, load)
		if err != nil {
			return nil, usageError{err}
		}
		traces = append(traces, t)
	}
	return traces, nil
}

func (s simulation) read(path string) (simulate.Trace, error) {
	file, err := os.Open(path)
	if err != nil {
		return simulate.Trace{}, usagef("%w: name a CSV file, or generate a load with --trace %s", err, strings.Join(simulate.Kinds(), ","))
	}
	defer file.Close()
	t, err := simulate.ParseCSV(path, bufio.NewReader(file))
	if err != nil {
		return simulate.Trace{}, usageError{err}
	}
	t.Name = strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
	if s.length > 0 {
		t.Length = s.length
	}
	if t.Length < time.Second {
		return simulate.Trace{}, usagef("%s lasts less than a second: its last row ends the trace, add one with the time of its end, or use --length", path)
	}
	return t, nil
}

func (s simulation) plot(results []simulate.Result) error {
	file, err := os.Create(s.svg)
	if err != nil {
		return usagef("--svg: %w", err)
	}
	w := bufio.NewWriter(file)
	if err := errors.Join(simulate.WriteSVG(w, results, s.options), w.Flush(), file.Close()); err != nil {
		return fmt.Errorf("write %s: %w", s.svg, err)
	}
	return nil
}
