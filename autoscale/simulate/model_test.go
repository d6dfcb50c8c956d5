package simulate

import (
	"math"
	"slices"
	"testing"
	"time"
)

// play advances a model by some seconds of the same.
func play(m *model, seconds int, p Point) {
	for range seconds {
		m.advance(p)
	}
}

func modelOf(replicas int, change func(*Options)) *model {
	o := Defaults()
	o.Limits.Start = replicas
	if change != nil {
		change(&o)
	}
	return newModel(o)
}

// Replicas handle 100 records per second each.
func TestModel(t *testing.T) {
	for _, tc := range []struct {
		name     string
		replicas int
		point    Point
		change   func(*Options)

		backlog, burn           float64 // after 10 s
		throughput, pulls, busy float64
		cpu                     float64
	}{
		{name: "less than replicas can do", replicas: 2, point: Point{Rate: 150, Factor: 1},
			throughput: 150, pulls: math.Inf(1), busy: 0.75, cpu: 75},
		{name: "as much as they can do", replicas: 2, point: Point{Rate: 200, Factor: 1},
			throughput: 200, pulls: 200, busy: 1, cpu: 100},
		{name: "more than they can do", replicas: 2, point: Point{Rate: 300, Factor: 1},
			backlog: 1000, burn: 5, throughput: 200, pulls: 200, busy: 1, cpu: 100},
		{name: "nothing to do", replicas: 3, point: Point{Factor: 1}, pulls: math.Inf(1)},
		{name: "half of the attempts fail", replicas: 2, point: Point{Rate: 200, Factor: 1, Failing: 0.5},
			backlog: 1000, burn: 10, throughput: 100, pulls: 200, busy: 1, cpu: 100},
		{name: "all attempts fail", replicas: 2, point: Point{Rate: 300, Factor: 1, Failing: 1},
			backlog: 3000, burn: math.Inf(1), throughput: 0, pulls: 200, busy: 1, cpu: 100},
		// 4 replicas could do 200 per second at half of their capacity.
		{name: "handlers wait twice as long", replicas: 4, point: Point{Rate: 250, Factor: 0.5},
			backlog: 500, burn: 2.5, throughput: 200, pulls: 200, busy: 1, cpu: 50},
		{name: "a shared limit", replicas: 10, point: Point{Rate: 100, Factor: 1, Shared: 80},
			backlog: 200, burn: 2.5, throughput: 80, pulls: 80, busy: 1, cpu: 8},
		{name: "a shared limit that is not reached", replicas: 10, point: Point{Rate: 100, Factor: 1, Shared: 500},
			throughput: 100, pulls: math.Inf(1), busy: 0.1, cpu: 10},
		{name: "replicas are stuck", replicas: 4, point: Point{Rate: 100},
			backlog: 1000, burn: math.Inf(1), busy: 1},
		{name: "handlers wait for I/O", replicas: 2, point: Point{Rate: 300, Factor: 1}, change: func(o *Options) { o.CPU = 30 },
			backlog: 1000, burn: 5, throughput: 200, pulls: 200, busy: 1, cpu: 30},
		{name: "a backlog from before", replicas: 2, point: Point{Rate: 100, Factor: 1}, change: func(o *Options) { o.Backlog = 5000 },
			backlog: 4000, burn: 20, throughput: 200, pulls: 200, busy: 1, cpu: 100},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := modelOf(tc.replicas, tc.change)
			play(m, 10, tc.point)
			o := newWatcher(Options{Exact: true}).look(m)
			for _, c := range []struct {
				name      string
				got, want float64
			}{
				{"backlog", m.backlog, tc.backlog}, {"burn", m.burn(tc.point), tc.burn}, {"measured backlog", o.Backlog, tc.backlog},
				{"throughput", o.Throughput, tc.throughput}, {"pulls", o.Pulls, tc.pulls}, {"busy", o.Busy, tc.busy}, {"cpu", o.CPU, tc.cpu},
			} {
				if c.got != c.want && math.Abs(c.got-c.want) > 1e-9 {
					t.Errorf("%s is %v, want %v", c.name, c.got, c.want)
				}
			}
		})
	}
}

// Growth works after the delay and is paid for at once; what shrinks is gone at once,
// and first what has not started yet.
func TestModelStarts(t *testing.T) {
	m := modelOf(2, func(o *Options) { o.StartDelay = 30 * time.Second })
	seen := func() [2]int { return [2]int{m.replicas(), m.ready} }
	var got [][2]int
	note := func() { got = append(got, seen()) }

	m.resize(5)
	note()
	play(m, 10, Point{Factor: 1})
	m.resize(6)
	note()
	play(m, 20, Point{Factor: 1})
	m.advance(Point{Factor: 1}) // the second that begins at 30 s
	note()
	m.resize(4)
	note()
	play(m, 30, Point{Factor: 1})
	note()
	if want := [][2]int{{5, 2}, {6, 2}, {6, 5}, {4, 4}, {4, 4}}; !slices.Equal(got, want) {
		t.Errorf("replicas, and those that work: %v, want %v", got, want)
	}
}

// No record is made or lost, whatever happens to replicas.
func TestModelConserves(t *testing.T) {
	m := modelOf(1, func(o *Options) { o.StartDelay = 7 * time.Second })
	arrived, done := 0.0, 0.0
	for i := range 5000 {
		p := Point{Rate: float64(i * 37 % 700), Factor: 1, Failing: float64(i%3) / 3}
		m.advance(p)
		arrived += p.Rate
		if i%60 == 59 {
			done += m.take().succeeded
			m.resize(1 + i*31%9)
		}
	}
	done += m.take().succeeded
	if math.Abs(arrived-done-m.backlog) > 1e-3 || m.backlog < 0 {
		t.Errorf("%v arrived, %v were done, %v are left", arrived, done, m.backlog)
	}
}

// The measured backlog has one record for each replica that is in a handler: all of
// them when they are behind, none when they are idle, and else as many as it happens.
func TestRecordsInFlight(t *testing.T) {
	for _, tc := range []struct {
		rate     float64
		least    float64
		mean     float64
		most     float64
		constant bool
	}{
		{rate: 0, constant: true},
		{rate: 200, least: 0, mean: 2, most: 7},
		{rate: 1000, least: 10, mean: 10, most: 10, constant: true},
	} {
		m, w := modelOf(10, nil), newWatcher(Options{Seed: 1})
		sum, seen := 0.0, map[float64]bool{}
		const looks = 2000
		for range looks {
			m.advance(Point{Rate: tc.rate, Factor: 1})
			b := w.look(m).Backlog
			if b < tc.least || b > tc.most+1 {
				t.Errorf("rate %v: backlog %v", tc.rate, b)
			}
			sum += b
			seen[b] = true
		}
		if math.Abs(sum/looks-tc.mean) > 0.15 || (len(seen) == 1) != tc.constant {
			t.Errorf("rate %v: mean backlog %v, want %v; seen %v", tc.rate, sum/looks, tc.mean, seen)
		}
	}
}
