package client

import (
	"sync/atomic"

	"github.com/rcrowley/go-metrics"
)

// noMetrics keeps sarama from counting what nobody reads. Its count of fetches per
// topic goes to the global registry of the metrics library all the same, which
// has one goroutine per process that never ends.
type noMetrics struct{}

var (
	_ metrics.Registry  = noMetrics{}
	_ metrics.Registry  = (*answerSize)(nil)
	_ metrics.Histogram = (*lastSize)(nil)
)

// answerSize is a registry in which the size of what the last fetch has brought for a
// partition is found: record batches that compaction has emptied are not in what sarama
// returns, but they are counted there.
type answerSize struct {
	noMetrics
	lastSize
}

func (a *answerSize) GetOrRegister(name string, metric any) any {
	if name == "consumer-fetch-response-size" {
		return &a.lastSize
	}
	return a.noMetrics.GetOrRegister(name, metric)
}

// lastSize is a histogram that keeps the last value.
type lastSize struct {
	metrics.NilHistogram
	n atomic.Int64
}

func (s *lastSize) Update(n int64) { s.n.Store(n) }

func (noMetrics) Each(func(string, any))            {}
func (noMetrics) Get(string) any                    { return nil }
func (noMetrics) GetAll() map[string]map[string]any { return nil }
func (noMetrics) Register(string, any) error        { return nil }
func (noMetrics) RunHealthchecks()                  {}
func (noMetrics) Unregister(string)                 {}
func (noMetrics) UnregisterAll()                    {}
func (noMetrics) GetOrRegister(_ string, metric any) any {
	switch m := metric.(type) {
	case func() metrics.Meter:
		return metrics.NilMeter{}
	case func() metrics.Histogram:
		return metrics.NilHistogram{}
	case func() metrics.Counter:
		return metrics.NilCounter{}
	case func() metrics.Gauge:
		return metrics.NilGauge{}
	case func() metrics.Timer:
		return metrics.NilTimer{}
	default:
		return m
	}
}
