package keda

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Defaults of a Config.
const (
	DefaultPoll = 5 * time.Second
	DefaultIdle = time.Minute
)

// askTimeout bounds one look at the source and the processes.
const askTimeout = 5 * time.Second

// errUnknown marks that a processor's state is not known now.
var errUnknown = errors.New("not known")

// A Config says what a Scaler looks at. Flow and Processors are needed.
type Config struct {
	Flow       string
	Processors []Processor

	// Peers find the processes, to learn of their replicas and CPU. Nil asks none:
	// decisions are then in processes, and the number falls only when nothing is
	// left to do.
	Peers *Peers

	// Poll is the time between two looks. Default 5 s.
	Poll time.Duration

	// Idle is how long nothing may have been to do before a processor counts as not
	// active. Default 1 min.
	Idle time.Duration

	// Logger gets a line for each decision that changes the number of processes, and
	// for what cannot be found out. Default slog.Default().
	Logger *slog.Logger
}

// A Scaler follows the processors of a flow and answers KEDA. Run it; its Handler
// answers while it runs.
type Scaler struct {
	cfg      Config
	monitors []*monitor
	peers    *Peers
	owned    *http.Transport // of peers, when it is the Scaler's
	over     chan struct{}   // closed when Run ends
	said     map[string]string
}

// New makes a Scaler. It errs for a Config that cannot be right.
func New(cfg Config) (*Scaler, error) {
	if cfg.Flow == "" || len(cfg.Processors) == 0 {
		return nil, errors.New("keda: Flow and Processors must be given")
	}
	if cfg.Poll == 0 {
		cfg.Poll = DefaultPoll
	}
	if cfg.Idle == 0 {
		cfg.Idle = DefaultIdle
	}
	if cfg.Poll < 0 || cfg.Idle < 0 {
		return nil, fmt.Errorf("keda: Poll is %v and Idle %v, want neither below 0", cfg.Poll, cfg.Idle)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	s := &Scaler{cfg: cfg, over: make(chan struct{}), said: map[string]string{}}
	if cfg.Peers != nil && len(cfg.Peers.Addresses) > 0 {
		if err := cfg.Peers.Validate(); err != nil {
			return nil, fmt.Errorf("keda: %w", err)
		}
		peers := *cfg.Peers
		if peers.Client == nil {
			s.owned = &http.Transport{MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute} // without a proxy: pods are near
			peers.Client = &http.Client{Transport: s.owned}
		}
		s.peers = &peers
	}
	for i := range cfg.Processors {
		p := &cfg.Processors[i]
		if err := p.Limits.Validate(); err != nil {
			return nil, fmt.Errorf("keda: processor %s: %w", p.Name, err)
		}
		s.monitors = append(s.monitors, newMonitor(p, cfg.Poll, cfg.Idle))
	}
	return s, nil
}

// Run looks at once, and then at each multiple of Poll of the clock, until ctx ends. It
// is called once.
func (s *Scaler) Run(ctx context.Context) {
	defer close(s.over)
	defer s.Close()
	for {
		s.Look(ctx)
		now := time.Now()
		timer := time.NewTimer(now.Truncate(s.cfg.Poll).Add(s.cfg.Poll).Sub(now))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// Close closes connections to processes that are kept for the next look. Run does it
// too.
func (s *Scaler) Close() {
	if s.owned != nil {
		s.owned.CloseIdleConnections()
	}
}

// Look looks once at all processors, and decides where it is time for that. Run calls
// it; a program that wants to know something once calls it instead of Run.
func (s *Scaler) Look(ctx context.Context) {
	asking, cancel := context.WithTimeoutCause(ctx, askTimeout, fmt.Errorf("no answer within %v", askTimeout))
	defer cancel()
	at := time.Now()
	var found everyone
	standings := make([]Standing, len(s.monitors))
	errs := make([]error, len(s.monitors))
	var all sync.WaitGroup
	if s.peers != nil {
		found.asked = true
		all.Go(func() { found.peers, found.err = s.peers.look(asking, s.cfg.Flow) })
	}
	for i, m := range s.monitors {
		if m.p.Group != nil {
			all.Go(func() { standings[i], errs[i] = m.p.Group.Standing(asking) })
		}
	}
	all.Wait()
	if ctx.Err() != nil {
		return // what was cut short says nothing
	}
	for i, m := range s.monitors {
		before := m.snapshot()
		m.update(lookAt(at, m.p, standings[i], errs[i], found))
		s.report(before, m.snapshot())
	}
}

// report logs what is new in a state.
func (s *Scaler) report(before, now State) {
	log := s.cfg.Logger.With("flow", s.cfg.Flow, "processor", now.Processor)
	trouble := now.Error
	if trouble == "" {
		trouble = strings.Join(now.Unanswered, "; ")
	}
	if said := s.said[now.Processor]; trouble != said {
		s.said[now.Processor] = trouble
		if trouble == "" {
			log.Info("all is known again")
		} else {
			log.Warn("not all is known, so that nothing shrinks", "error", trouble)
		}
	}
	if d := now.Decision; now.Wanted != before.Wanted {
		log.Info("processes wanted", "from", before.Wanted, "to", now.Wanted, "rule", string(d.Rule), "reason", d.Reason)
	}
}

// States returns what is known of each processor.
func (s *Scaler) States() []State {
	out := make([]State, len(s.monitors))
	for i, m := range s.monitors {
		out[i] = m.snapshot()
	}
	return out
}

// Active reports whether a processor has, or had within the idle time, more to do than
// a backlog of threshold. It errs when there is no such processor.
func (s *Scaler) Active(processor string, threshold float64) (bool, error) {
	m, err := s.monitor(processor)
	if err != nil {
		return false, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.active(threshold), nil
}

func (m *monitor) snapshot() State {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state
}

// monitor finds a processor: by its name or, when that is empty, the only one, or the
// only one that is no collector or endpoint.
func (s *Scaler) monitor(name string) (*monitor, error) {
	var names []string
	var consumers []*monitor
	for _, m := range s.monitors {
		if m.p.Name == name {
			return m, nil
		}
		names = append(names, m.p.Name)
		if !m.p.Requests {
			consumers = append(consumers, m)
		}
	}
	switch {
	case name != "":
		return nil, fmt.Errorf("there is no processor %q: use one of %s", name, strings.Join(names, ", "))
	case len(s.monitors) == 1:
		return s.monitors[0], nil
	case len(consumers) == 1:
		return consumers[0], nil
	}
	return nil, fmt.Errorf("the flow has several processors: name one of %s", strings.Join(names, ", "))
}
