package runtime

import (
	"math"
	"time"

	"github.com/flowkit-go/flow/autoscale"
)

// Snapshot is the state of a running flow, as /state shows it.
type Snapshot struct {
	Flow       string              `json:"flow"`
	State      string              `json:"state"` // new, starting, running, draining, stopped
	Time       time.Time           `json:"time"`
	UptimeSecs float64             `json:"uptime_secs"`
	Addresses  Addresses           `json:"addresses"`
	Processors []ProcessorSnapshot `json:"processors"`
}

// ProcessorSnapshot is the state of one processor. Rates are per second over the
// last minute. A backlog that is not known is null, as is the burn time without
// throughput.
type ProcessorSnapshot struct {
	Name        string   `json:"name"`
	Kind        string   `json:"kind"`
	At          string   `json:"at"` // where it is registered
	Replicas    int      `json:"replicas"`
	Tasks       int      `json:"tasks"` // over all replicas
	InFlight    int64    `json:"in_flight"`
	Throughput  float64  `json:"throughput"` // successful records or requests
	Backlog     *int64   `json:"backlog"`
	BurnSeconds *float64 `json:"burn_seconds"`
	GroupRate   *float64 `json:"group_throughput"` // positions per second that the group commits, over all processes
	Paused      bool     `json:"paused"`
	CPU         *float64 `json:"cpu_percent"` // of what one replica is counted with, over the last minute; null where it is not measured

	// Of a consumer, as it was within the last seconds; null before the first look.
	Busy      *float64 `json:"busy"`          // share of the tasks' time in the handler
	QueueSecs *float64 `json:"queueing_secs"` // mean wait of records in this process before their handler began

	// Autoscale is how its size is decided. Only Engine.Snapshot and /state fill it in.
	Autoscale *autoscale.Status `json:"autoscale"`

	Stalls map[string]int64 `json:"stalls,omitempty"` // by cause, of a consumer

	Messages Counts  `json:"messages"`
	Errors   Errors  `json:"errors"`
	Handler  Latency `json:"handler_seconds"`
	Sink     Latency `json:"sink_write_seconds"`
	Age      Latency `json:"age_seconds"` // from the event's time until it was handled

	Lanes []LaneSnapshot `json:"lanes,omitempty"`
}

// Counts are records by outcome, as in flow_messages_total.
type Counts struct {
	OK      int64 `json:"ok"`
	Skipped int64 `json:"skipped"`
	Retried int64 `json:"retried"`
	Dead    int64 `json:"dead"`
	Failed  int64 `json:"failed"`
}

// Errors counts what went wrong besides records.
type Errors struct {
	Invalid    int64 `json:"invalid"` // records that could not be decoded
	Source     int64 `json:"source"`
	Sink       int64 `json:"sink"` // writes tried again
	DeadLetter int64 `json:"dead_letter"`
	Commit     int64 `json:"commit"`
	Stalls     int64 `json:"stalls"`
	Voided     int64 `json:"voided"` // transactions that failed, so that their partition was begun anew
}

// Latency are quantiles in seconds over the life of the process, within 12 %.
type Latency struct {
	Count int64   `json:"count"`
	P50   float64 `json:"p50"`
	P95   float64 `json:"p95"`
	P99   float64 `json:"p99"`
}

// LaneSnapshot is the state of one partition that this process holds.
type LaneSnapshot struct {
	Topic     string  `json:"topic"`
	Partition int32   `json:"partition"`
	State     string  `json:"state"`    // running, draining, released
	Position  int64   `json:"position"` // of the first unresolved record
	Committed int64   `json:"committed"`
	Read      int64   `json:"read"` // the next position to read
	Lag       int64   `json:"lag"`  // unresolved records that were read
	Bytes     int     `json:"bytes"`
	DirtySecs float64 `json:"uncommitted_secs"` // since when something is resolved that is not committed
	AgeSecs   float64 `json:"age_secs"`         // since the first unresolved record last changed
	Stalled   bool    `json:"stalled"`
	Cause     string  `json:"cause,omitempty"` // of the stall: handler, sink, retry, task, claim, fetch, commit
	Retrying  bool    `json:"retrying"`
	Paused    bool    `json:"paused"` // by hand, this partition alone
}

func (h *histogram) latency() Latency {
	return Latency{h.count.Load(), h.quantile(.5).Seconds(), h.quantile(.95).Seconds(), h.quantile(.99).Seconds()}
}

func (s *stats) counts() Counts {
	return Counts{s.ok.Load(), s.skipped.Load(), s.retried.Load(), s.dead.Load(), s.failed.Load()}
}

// Snapshot returns the present state. It may be called at any time.
func (e *Engine) Snapshot() Snapshot {
	now := time.Now()
	s := Snapshot{
		Flow: e.cfg.Name, State: stateNames[e.state.Load()], Time: now.UTC(),
		Processors: []ProcessorSnapshot{},
	}
	if s.State != "new" && s.State != "starting" {
		s.Addresses = e.addresses()
		s.UptimeSecs = now.Sub(e.began).Seconds()
	}
	for _, c := range e.consumers {
		s.Processors = append(s.Processors, c.snapshot(now))
	}
	if e.web != nil {
		s.Processors = append(s.Processors, e.web.snapshots(now)...)
	}
	for i := range s.Processors {
		if status, err := e.loop.Status(s.Processors[i].Name); err == nil {
			s.Processors[i].Autoscale = &status
		}
	}
	return s
}

func (c *consumer) snapshot(now time.Time) ProcessorSnapshot {
	p := ProcessorSnapshot{
		Name: c.spec.Name, Kind: "consumer", At: c.spec.At,
		Replicas: c.pool.Replicas(), Tasks: c.pool.Replicas() * c.spec.ConcurrentTasks,
		InFlight: c.stats.running.Load(), Throughput: c.stats.rate.perSecond(now),
		Paused:   c.queue.paused.Load(),
		Messages: c.stats.counts(),
		Errors: Errors{
			Invalid: c.stats.invalid.Load(), Source: c.stats.sourceErrors.Load(), Sink: c.stats.sinkRetried.Load(),
			DeadLetter: c.stats.deadFailed.Load(), Commit: c.stats.commitErrors.Load(), Stalls: c.stats.allStalls(), Voided: c.stats.voided.Load(),
		},
		Handler: c.stats.handler.latency(), Sink: c.stats.sinkWrite.latency(), Age: c.stats.age.latency(),
	}
	p.Stalls = map[string]int64{}
	for cause := stallHandler; cause < stalls; cause++ {
		if n := c.stats.stalls[cause].Load(); n > 0 {
			p.Stalls[cause.String()] = n
		}
	}
	if b, known := c.backlog(); known {
		p.Backlog = &b
		if burn := burnSeconds(b, p.Throughput); !math.IsInf(burn, 1) {
			p.BurnSeconds = &burn
		}
	}
	if m := c.lately.Load(); m != nil && !math.IsNaN(m.busy) {
		queueing := m.queueing.Seconds()
		p.Busy, p.QueueSecs = &m.busy, &queueing
	}
	if rate := math.Float64frombits(c.groupRate.Load()); !math.IsNaN(rate) {
		p.GroupRate = &rate
	}
	if used := percent(use(c.usage, c.spec.Name, now.Add(-time.Minute)), float64(p.Replicas), c.spec.NumCPUs); !math.IsNaN(used) {
		p.CPU = &used
	}
	for _, l := range c.allLanes() {
		p.Lanes = append(p.Lanes, l.snapshot(now))
	}
	return p
}

// burnSeconds is how long working off the backlog takes at the present rate.
func burnSeconds(backlog int64, throughput float64) float64 {
	if backlog == 0 {
		return 0
	}
	return float64(backlog) / throughput
}

func (l *lane) snapshot(now time.Time) LaneSnapshot {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := LaneSnapshot{
		Topic: l.part.Topic, Partition: l.part.ID, State: l.state.String(),
		Position: l.t.committable(), Committed: l.committed, Read: l.t.position,
		Lag: int64(l.t.undone), Bytes: l.t.bytes, Stalled: l.stall != notStalled, Cause: l.stall.String(), Retrying: l.blocked, Paused: l.paused.Load(),
	}
	if l.uncommitted != 0 {
		s.DirtySecs = max(0, float64(now.UnixNano()-l.uncommitted)/1e9)
	}
	if l.t.undone > 0 {
		s.AgeSecs = max(0, float64(now.UnixNano()-l.progress)/1e9)
	}
	return s
}
