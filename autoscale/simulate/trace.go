package simulate

import (
	"errors"
	"fmt"
	"math"
	"sort"
	"time"
)

// MaxLength is the longest trace that is played.
const MaxLength = 31 * 24 * time.Hour

// MaxRate is the highest rate of a trace, in records per second.
const MaxRate = 1e12

// A Trace is what arrives over time, and how well replicas can handle it.
type Trace struct {
	Name   string
	Points []Point       // in order of At; the first counts from the beginning
	Length time.Duration // in whole seconds
}

// A Point holds from its time until the next one.
type Point struct {
	At      time.Duration
	Rate    float64 // records per second that arrive
	Factor  float64 // of the capacity of a replica that is there; 1 all of it, 0.5 when handlers wait twice as long
	Failing float64 // share of the attempts that fail and are repeated, 0 to 1
	Shared  float64 // attempts per second that something all replicas need lets through, such as a database; 0 no limit
}

// Validate returns an error that says what is wrong with the trace and with which point.
func (t Trace) Validate() error {
	var errs []error
	if len(t.Points) == 0 {
		errs = append(errs, errors.New("it has no points"))
	}
	if t.Length < time.Second || t.Length > MaxLength {
		errs = append(errs, fmt.Errorf("its length is %v, want it from 1s to %v", t.Length, MaxLength))
	}
	for i, p := range t.Points {
		if i > 0 && p.At <= t.Points[i-1].At {
			errs = append(errs, fmt.Errorf("point %d is at %v, want it after the one before, at %v", i, p.At, t.Points[i-1].At))
		}
		if err := p.validate(); err != nil {
			errs = append(errs, fmt.Errorf("point %d at %v: %w", i, p.At, err))
		}
	}
	if len(errs) > 0 {
		return fmt.Errorf("simulate: trace %s: %w", t.Name, errors.Join(errs...))
	}
	return nil
}

func (p Point) validate() error {
	for c, v := range [...]float64{p.At.Seconds(), p.Rate, p.Factor, p.Failing, p.Shared} {
		if err := columns[c].check(v); err != nil {
			return err
		}
	}
	return nil
}

func (p Point) impaired() bool { return p.Factor < 1 || p.Failing > 0 || p.Shared > 0 }

// A column is one number of a point, as CSV has it.
type column struct {
	name string
	want string
	most float64
}

var columns = [...]column{
	{"seconds", "the seconds since the beginning, from 0 to 2678400", MaxLength.Seconds()},
	{"rate", "records per second that arrive, from 0 to 1e12", MaxRate},
	{"capacity_factor", "the share of a replica's capacity that is there, from 0 to 1000, 1 being all of it", 1000},
	{"failing_share", "the share of attempts that fail, from 0 to 1", 1},
	{"shared_limit", "attempts per second that all replicas together can make, from 0 to 1e12, 0 being no limit", MaxRate},
}

func (c column) check(v float64) error {
	if math.IsNaN(v) || v < 0 || v > c.most {
		return fmt.Errorf("%s is %v, want %s", c.name, v, c.want)
	}
	return nil
}

// at is the point that holds at a time.
func (t Trace) at(at time.Duration) Point {
	i := sort.Search(len(t.Points), func(i int) bool { return t.Points[i].At > at })
	return t.Points[max(i-1, 0)]
}
