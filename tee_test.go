package flow_test

import (
	"context"
	"errors"
	"testing"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/primitives"
)

// odd is a sink that does with a write what the test says.
type odd struct {
	flow.Sink[int]
	write func(done func(error))
}

func (s odd) OpenSink(context.Context, *primitives.Env) (primitives.Writer, error) { return s, nil }
func (s odd) Write(_ context.Context, _ []primitives.Record, done func(error))     { s.write(done) }
func (s odd) Close(context.Context) error                                          { return nil }

// A tee answers when each of its sinks has, whatever one of them does.
func TestTeeWithOddSinks(t *testing.T) {
	refused := errors.New("refused")
	index := func(i int) error {
		return &primitives.BatchError{Failed: []primitives.RecordError{{Index: i, Err: refused}}}
	}
	for _, tt := range []struct {
		name  string
		write func(done func(error))
		want  []int // indexes of the records refused, of 0 and 2 for this sink and 1 and 3 for the other
	}{
		{"answers twice", func(done func(error)) { done(nil); done(nil) }, nil},
		{"panics", func(func(error)) { panic("no disk") }, []int{0, 2}},
		{"panics after its answer", func(done func(error)) { done(nil); panic("no disk") }, nil},
		{"refuses one", func(done func(error)) { done(index(1)) }, []int{2}},
		{"refuses what it was not given", func(done func(error)) { done(index(2)) }, []int{0, 2}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			var late func(error)
			sink := flow.Tee[int](odd{r.out(), tt.write}, odd{r.out(), func(done func(error)) { late = done }})
			encode, err := sink.Encoder()
			if err != nil {
				t.Fatal(err)
			}
			var out primitives.Outputs
			for _, v := range []int{7, 8} {
				if err := encode(v, &out); err != nil {
					t.Fatal(err)
				}
			}
			w, err := sink.OpenSink(t.Context(), &primitives.Env{})
			if err != nil {
				t.Fatal(err)
			}
			var answers []error
			w.Write(t.Context(), out.Records, func(err error) { answers = append(answers, err) })
			equal(t, "answers before the second sink's", len(answers), 0)
			late(nil)
			if len(answers) != 1 {
				t.Fatalf("%d answers, want 1", len(answers))
			}
			var got []int
			var partial *primitives.BatchError
			if errors.As(answers[0], &partial) {
				for _, f := range partial.Failed {
					got = append(got, f.Index)
				}
			}
			equal(t, "refused", got, tt.want)
		})
	}
}
