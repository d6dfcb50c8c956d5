package runtime

import (
	"math"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics makes Prometheus metrics from the counters when they are asked for, so
// that the hot path knows nothing of them.
type metrics struct{ e *Engine }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

// descs holds one description per metric. Units are base units; no label has a
// key, an offset or anything else without bound.
type descs struct {
	messages, handler, sink, age, inflight, backlog, burn, replicas, busy                         *prometheus.Desc
	stalled, stalls, position, committed, dirty, lag, partLag, group, invalid, sourceErrors       *prometheus.Desc
	queueing, commitErrors, voided, sinkRetries, deadErrors, outputs, requests, requestsNow, info *prometheus.Desc
	decisions, wanted, wantedCPUs                                                                 *prometheus.Desc
}

func newDescs() descs {
	const p, part, topic = "processor", "partition", "topic"
	return descs{
		messages:     desc("flow_messages_total", "Records or requests by outcome: ok, skipped, retried, dead, failed.", p, "outcome"),
		handler:      desc("flow_handler_seconds", "Time of one call of the handler with decoding and encoding.", p),
		sink:         desc("flow_sink_write_seconds", "Time until the sink confirmed one write.", p),
		age:          desc("flow_record_age_seconds", "Time from the event until its record was handled.", p),
		inflight:     desc("flow_inflight", "Handler calls in progress.", p),
		backlog:      desc("flow_backlog", "Records that were read and are not resolved.", p, topic, part),
		burn:         desc("flow_backlog_burn_seconds", "Time to work off the source's backlog at the present rate.", p),
		replicas:     desc("flow_replicas", "Replicas of the processor.", p),
		busy:         desc("flow_replica_busy_ratio", "Share of the tasks that are in a handler now.", p),
		queueing:     desc("flow_queueing_seconds", "Mean wait of records in the process before their handler began, lately.", p),
		stalled:      desc("flow_partition_stalled", "1 while the partition holds records and does not advance.", p, topic, part),
		stalls:       desc("flow_stalls_total", "Times that something was found not to advance, by cause.", p, "cause"),
		position:     desc("flow_partition_position", "Position of the first record that is not resolved.", p, topic, part),
		committed:    desc("flow_partition_committed", "Position that the source has confirmed.", p, topic, part),
		dirty:        desc("flow_partition_uncommitted_seconds", "Time since something was handled that is not committed yet.", p, topic, part),
		lag:          desc("flow_source_backlog", "Records in the source that are not committed, as the source tells.", p),
		partLag:      desc("flow_partition_source_backlog", "Records of the partition in the source that are not committed, as the source tells.", p, topic, part),
		group:        desc("flow_group_committed_per_second", "Positions that the group commits per second, over all processes.", p),
		invalid:      desc("flow_invalid_total", "Records that could not be decoded.", p),
		sourceErrors: desc("flow_source_errors_total", "Errors of the source that were tried again.", p),
		commitErrors: desc("flow_commit_errors_total", "Commits that failed.", p),
		voided:       desc("flow_transactions_failed_total", "Transactions that failed, so that their partition was begun anew.", p),
		sinkRetries:  desc("flow_sink_retries_total", "Writes that were tried again.", p),
		deadErrors:   desc("flow_dead_letter_errors_total", "Writes of dead letters that failed and were tried again.", p),
		outputs:      desc("flow_outputs_total", "Records written to the sink.", p),
		requests:     desc("flow_http_requests_total", "Requests by status class.", p, "status"),
		requestsNow:  desc("flow_http_requests_in_progress", "Requests in progress.", p),
		decisions:    desc("flow_autoscale_decisions_total", "Decisions about the number of replicas, by direction (up, down, hold) and rule.", p, "direction", "rule"),
		wanted:       desc("flow_wanted_replicas", "Replicas that the last decision's rule wanted, before limits and CPUs.", p),
		wantedCPUs:   desc("flow_wanted_cpus", "CPUs that an outer scaler is asked for; 0 when what is wanted fits.", p),
		info:         desc("flow_info", "1, with the name and state of the flow.", "flow", "state"),
	}
}

// Describe implements prometheus.Collector. It sends nothing: what there is
// depends on the flow.
func (m *metrics) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	d := newDescs()
	now := time.Now()
	gauge := func(desc *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, v, labels...)
	}
	counter := func(desc *prometheus.Desc, v int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(v), labels...)
	}
	gauge(d.info, 1, m.e.cfg.Name, stateNames[m.e.state.Load()])
	common := func(name string, s *stats, replicas, tasks int) {
		c := s.counts()
		for _, o := range []struct {
			outcome string
			n       int64
		}{{"ok", c.OK}, {"skipped", c.Skipped}, {"retried", c.Retried}, {"dead", c.Dead}, {"failed", c.Failed}} {
			counter(d.messages, o.n, name, o.outcome)
		}
		ch <- s.handler.metric(d.handler, name)
		ch <- s.sinkWrite.metric(d.sink, name)
		gauge(d.inflight, float64(s.running.Load()), name)
		gauge(d.replicas, float64(replicas), name)
		counter(d.outputs, s.outputs.Load(), name)
		counter(d.invalid, s.invalid.Load(), name)
		if status, err := m.e.loop.Status(name); err == nil {
			gauge(d.wanted, float64(status.Want), name)
			gauge(d.wantedCPUs, float64(status.WantedCPU), name)
		}
		for kind, n := range m.e.loop.Counts(name) {
			counter(d.decisions, n, name, kind.Direction, string(kind.Rule))
		}
		if tasks > 0 {
			gauge(d.busy, float64(s.running.Load())/float64(tasks), name)
		}
	}
	for _, c := range m.e.consumers {
		p := c.snapshot(now)
		common(p.Name, &c.stats, p.Replicas, p.Tasks)
		ch <- c.stats.age.metric(d.age, p.Name)
		for cause := stallHandler; cause < stalls; cause++ {
			counter(d.stalls, c.stats.stalls[cause].Load(), p.Name, cause.String())
		}
		counter(d.sourceErrors, p.Errors.Source, p.Name)
		counter(d.commitErrors, p.Errors.Commit, p.Name)
		counter(d.voided, p.Errors.Voided, p.Name)
		counter(d.sinkRetries, p.Errors.Sink, p.Name)
		counter(d.deadErrors, p.Errors.DeadLetter, p.Name)
		if p.QueueSecs != nil {
			gauge(d.queueing, *p.QueueSecs, p.Name)
		}
		if p.Backlog != nil {
			gauge(d.lag, float64(*p.Backlog), p.Name)
			gauge(d.burn, burnSeconds(*p.Backlog, p.Throughput), p.Name)
		}
		if parts := c.backlogs.Load(); parts != nil {
			for part, n := range *parts {
				gauge(d.partLag, float64(n), p.Name, part.Topic, strconv.Itoa(int(part.ID)))
			}
		}
		if p.GroupRate != nil {
			gauge(d.group, *p.GroupRate, p.Name)
		}
		for _, l := range p.Lanes {
			id := strconv.Itoa(int(l.Partition))
			stalled := 0.0
			if l.Stalled {
				stalled = 1
			}
			gauge(d.stalled, stalled, p.Name, l.Topic, id)
			gauge(d.backlog, float64(l.Lag), p.Name, l.Topic, id)
			gauge(d.position, float64(l.Position), p.Name, l.Topic, id)
			gauge(d.committed, float64(l.Committed), p.Name, l.Topic, id)
			gauge(d.dirty, l.DirtySecs, p.Name, l.Topic, id)
		}
	}
	if m.e.web == nil {
		return
	}
	for _, r := range m.e.web.routes {
		if r.Web == nil {
			continue
		}
		r.fold()
		common(r.Name, &r.stats, r.pool.Replicas(), 0)
		inFlight, _, _ := r.limiter.Stats()
		gauge(d.requestsNow, float64(inFlight), r.Name)
		for i, class := range statusClasses {
			if class != "" {
				counter(d.requests, r.classes[i].Load(), r.Name, class)
			}
		}
	}
}

// metric gives the histogram in Prometheus' form, with one bucket per power of two.
func (h *histogram) metric(desc *prometheus.Desc, labels ...string) prometheus.Metric {
	buckets := make(map[float64]uint64, histogramSize/4)
	seen := uint64(0)
	for i := range h.buckets {
		seen += uint64(h.buckets[i].Load())
		if upper := bound(i); i%4 == 0 && upper != math.MaxInt64 {
			buckets[upper.Seconds()] = seen
		}
	}
	total := seen
	return prometheus.MustNewConstHistogram(desc, total, float64(h.sum.Load())/1e9, buckets, labels...)
}
