package runtime

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/flowkit-go/flow/runtime/web"
)

// routeCounts are what is counted of each request, in parts that processors need
// not pass to and fro. fold adds them to the stats, for whoever reads those.
type routeCounts [web.Shards]routeShard

type routeShard struct {
	took    [histogramSize]atomic.Int64
	sum     atomic.Int64
	classes [6]atomic.Int64
	ok      [rateWindow]atomic.Uint64 // of one second each: its lower 32 bits, and how many
	_       [64]byte
}

func (c *routeCounts) observe(o web.Observation) {
	s := &c[o.Shard]
	s.took[bucket(o.Took)].Add(1)
	s.sum.Add(int64(o.Took))
	s.classes[class(o.Status)].Add(1)
	if o.Status < 400 {
		s.addOK(uint32(o.Began.Add(o.Took).Unix()))
	}
}

// class is the first digit of a status, 0 for what is none.
func class(status int) int { return min(max(status/100, 0), 5) }

func (s *routeShard) addOK(second uint32) {
	slot := &s.ok[second%rateWindow]
	for {
		old := slot.Load()
		if uint32(old>>32) == second {
			slot.Add(1)
			return
		}
		if slot.CompareAndSwap(old, uint64(second)<<32|1) {
			return
		}
	}
}

// fold moves what was counted to the stats.
func (r *routeState) fold() {
	type second struct {
		at uint32
		n  int
	}
	var seconds []second
	for i := range r.counts {
		s := &r.counts[i]
		for b := range s.took {
			if n := s.took[b].Swap(0); n != 0 {
				r.stats.handler.buckets[b].Add(n)
				r.stats.handler.count.Add(n)
			}
		}
		r.stats.handler.sum.Add(s.sum.Swap(0))
		for c := range s.classes {
			n := s.classes[c].Swap(0)
			r.classes[c].Add(n)
			switch c {
			case 4:
				r.stats.invalid.Add(n)
			case 5:
				r.stats.failed.Add(n)
			default:
				r.stats.ok.Add(n)
			}
		}
		for b := range s.ok {
			if v := s.ok[b].Swap(0); v != 0 {
				seconds = append(seconds, second{uint32(v >> 32), int(uint32(v))})
			}
		}
	}
	slices.SortFunc(seconds, func(a, b second) int { return int(a.at) - int(b.at) })
	for _, s := range seconds {
		r.stats.rate.add(time.Unix(int64(s.at), 0), s.n)
	}
}
