package flow

import (
	"context"
	"errors"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/runtime"
)

// Tee writes each value to all of the sinks. The input is acknowledged when it is
// durable in each of them. Sinks of different kinds need the type spelled:
// flow.Tee[Order](topic, table).
func Tee[T any](sinks ...Sink[T]) Sink[T] { return tee[T]{sinks} }

type tee[T any] struct{ sinks []Sink[T] }

func (t tee[T]) String() string {
	name := ""
	for i, s := range t.sinks {
		if i > 0 {
			name += " + "
		}
		name += s.String()
	}
	return name
}

// Validate reports a tee without sinks and what its sinks report.
func (t tee[T]) Validate() error {
	if len(t.sinks) == 0 {
		return errors.New("flow.Tee: no sinks given")
	}
	var errs []error
	for _, s := range t.sinks {
		if s == nil {
			errs = append(errs, errors.New("flow.Tee: a sink is nil"))
		} else if v, ok := find[primitives.Validator](s); ok {
			errs = append(errs, v.Validate())
		}
	}
	return errors.Join(errs...)
}

// Encoder marks each record with the way that it goes: Route counts through the
// sinks, and through those of a tee within a tee.
func (t tee[T]) Encoder() (primitives.Encoder[T], error) {
	encoders := make([]primitives.Encoder[T], len(t.sinks))
	first := make([]int32, len(t.sinks))
	routes := int32(0)
	for i, s := range t.sinks {
		var err error
		if encoders[i], err = s.Encoder(); err != nil {
			return nil, err
		}
		first[i] = routes
		routes += routesOf(s)
	}
	return func(v T, out *primitives.Outputs) error {
		for i, encode := range encoders {
			mark := len(out.Records)
			if err := encode(v, out); err != nil {
				return err
			}
			for k := mark; k < len(out.Records); k++ {
				out.Records[k].Route += first[i]
			}
		}
		return nil
	}, nil
}

// routed is implemented by sinks that use more than one Route.
type routed interface{ routes() int32 }

func (t tee[T]) routes() int32 {
	n := int32(0)
	for _, s := range t.sinks {
		n += routesOf(s)
	}
	return n
}

func routesOf(sink any) int32 {
	if r, ok := find[routed](sink); ok {
		return r.routes()
	}
	return 1
}

func (t tee[T]) OpenSink(ctx context.Context, env *primitives.Env) (primitives.Writer, error) {
	w := &teeWriter{}
	for _, s := range t.sinks {
		inner, err := s.OpenSink(ctx, env)
		if err != nil {
			return nil, errors.Join(err, w.Close(ctx))
		}
		w.ways = append(w.ways, way{inner, routesOf(s)})
	}
	return w, nil
}

type way struct {
	writer primitives.Writer
	routes int32
}

type teeWriter struct{ ways []way }

// Write gives every sink its part and calls done when all have answered, once each.
// A sink that panics has refused its part: the others still hold theirs.
func (w *teeWriter) Write(ctx context.Context, batch []primitives.Record, done func(error)) {
	join := &joined{left: len(w.ways), done: done}
	first := int32(0)
	for _, to := range w.ways {
		var part []primitives.Record
		var index []int
		for i, r := range batch {
			if r.Route >= first && r.Route < first+to.routes {
				r.Route -= first
				part, index = append(part, r), append(index, i)
			}
		}
		first += to.routes
		if len(part) == 0 || to.writer == nil {
			join.answer(nil, nil)
			continue
		}
		var answered atomic.Bool
		done := func(err error) {
			if answered.CompareAndSwap(false, true) {
				join.answer(index, err)
			}
		}
		func() {
			defer func() {
				if p := recover(); p != nil {
					done(&runtime.PanicError{Value: p, Stack: debug.Stack()})
				}
			}()
			to.writer.Write(ctx, part, done)
		}()
	}
}

// Close closes all sinks.
func (w *teeWriter) Close(ctx context.Context) error {
	var errs []error
	for _, to := range w.ways {
		if to.writer != nil {
			errs = append(errs, to.writer.Close(ctx))
		}
	}
	return errors.Join(errs...)
}

// joined collects the answers of several writers to parts of one batch.
type joined struct {
	mu     sync.Mutex
	left   int
	failed []primitives.RecordError
	done   func(error)
}

// refuse notes that all records with these indexes failed. mu is held.
func (j *joined) refuse(index []int, err error) {
	for _, i := range index {
		j.failed = append(j.failed, primitives.RecordError{Index: i, Err: err})
	}
}

// answer takes the answer for the records with these indexes in the whole batch.
func (j *joined) answer(index []int, err error) {
	var partial *primitives.BatchError
	j.mu.Lock()
	switch {
	case err == nil:
	case errors.As(err, &partial):
		for _, f := range partial.Failed {
			if f.Index < 0 || f.Index >= len(index) { // then none is known to be durable
				j.refuse(index, err)
				break
			}
			j.failed = append(j.failed, primitives.RecordError{Index: index[f.Index], Err: f.Err})
		}
	default:
		j.refuse(index, err)
	}
	j.left--
	last := j.left == 0
	j.mu.Unlock()
	if !last {
		return
	}
	if len(j.failed) > 0 {
		j.done(&primitives.BatchError{Failed: j.failed})
		return
	}
	j.done(nil)
}
