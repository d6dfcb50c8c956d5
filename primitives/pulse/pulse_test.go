package pulse_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/primitivetest"
	"github.com/flowkit-go/flow/primitives/pulse"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func env() *primitives.Env {
	return &primitives.Env{Logger: slog.New(slog.DiscardHandler), Shared: &primitives.Shared{}}
}

type beat[T any] struct {
	At     time.Duration
	Offset int64
	Value  T
	Err    string
}

// run reads n records of a source in a bubble, each after a delay, and decodes them.
func run[T any](t *testing.T, source primitives.Source[T], n, capacity int, delay time.Duration) []beat[T] {
	t.Helper()
	decode, err := source.Decoder()
	if err != nil {
		t.Fatal(err)
	}
	r, err := source.OpenSource(t.Context(), env())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	in := primitivetest.NewIntake(capacity)
	ended := make(chan error, 1)
	start := time.Now()
	go func() { ended <- r.Run(ctx, in) }()
	var got []beat[T]
	for len(got) < n {
		ds, err := in.Take(ctx, 1)
		if err != nil {
			t.Fatal(err)
		}
		b := beat[T]{At: time.Since(start), Offset: ds[0].Record.Offset}
		b.Value, err = decode([]primitives.Record{ds[0].Record})
		if err != nil {
			b.Err = err.Error()
			if !primitives.IsPermanent(err) {
				t.Errorf("%v would be tried again", err)
			}
		}
		got = append(got, b)
		if err := r.Commit(ctx, []primitives.Commit{{Partition: ds[0].Lane.Partition, Next: b.Offset + 1}}); err != nil {
			t.Error(err)
		}
		time.Sleep(delay)
	}
	if b, ok := source.(primitives.Bounded); ok && b.Bounded() {
		if err := <-ended; err != nil {
			t.Error(err)
		}
		cancel()
	} else {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	if err := r.Close(t.Context()); err != nil {
		t.Error(err)
	}
	return got
}

type order struct {
	ID    int    `json:"id"`
	Notes []byte `json:"notes"`
}

func TestItemsComeInTurnAfterEachInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		items := pulse.Items[order]{Items: []order{{ID: 1, Notes: []byte{0, 255}}, {ID: 2}, {ID: 3}}, Every: 3 * time.Second}
		got := run(t, items, 4, 10, 0)
		want := []beat[order]{
			{At: 3 * time.Second, Offset: 0, Value: order{ID: 1, Notes: []byte{0, 255}}},
			{At: 6 * time.Second, Offset: 1, Value: order{ID: 2}},
			{At: 9 * time.Second, Offset: 2, Value: order{ID: 3}},
			{At: 12 * time.Second, Offset: 3, Value: order{ID: 1, Notes: []byte{0, 255}}},
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
	})
}

func TestTypesWithoutJSON(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if got := run(t, pulse.Items[string]{Items: []string{"a"}}, 1, 1, 0); got[0].Value != "a" || got[0].At != pulse.DefaultEvery {
			t.Errorf("got %+v", got)
		}
		if got := run(t, pulse.Items[[]byte]{Items: [][]byte{{1, 0}}}, 1, 1, 0); string(got[0].Value) != "\x01\x00" {
			t.Errorf("got %+v", got)
		}
		rec := primitives.Record{Key: []byte("k"), Value: []byte("v")}
		if got := run(t, pulse.Items[primitives.Record]{Items: []primitives.Record{rec}}, 1, 1, 0); string(got[0].Value.Key) != "k" {
			t.Errorf("got %+v", got)
		}
	})
}

func TestCountEndsTheSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		items := pulse.Items[int]{Items: []int{7, 8}, Every: time.Second, Count: 3}
		got := run(t, items, 3, 10, 0)
		if got[2].Value != 7 || got[2].At != 3*time.Second {
			t.Errorf("got %+v", got)
		}
		if (pulse.Items[int]{}).Bounded() {
			t.Error("without Count it is bounded")
		}
	})
}

func TestMissedBeatsDoNotPileUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// A lane for one record, which takes 10 s each: there would be 10 beats in
		// the meantime. At most two wait, in the lane and before it.
		got := run(t, pulse.Items[int]{Items: []int{1}, Every: time.Second}, 5, 1, 10*time.Second)
		var at []time.Duration
		for _, b := range got {
			at = append(at, b.At)
		}
		want := []time.Duration{1 * time.Second, 11 * time.Second, 21 * time.Second, 31 * time.Second, 41 * time.Second}
		if d := cmp.Diff(want, at); d != "" {
			t.Error(d)
		}
		if last := got[4].Offset; last != 4 {
			t.Errorf("the fifth record has offset %d", last)
		}
	})
}

func TestFuncErrorsAndPanicsAreInvalidRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := pulse.Func[int64]{Count: 5, Next: func(_ context.Context, n int64) (int64, error) {
			switch n {
			case 1:
				return 0, errors.New("no reading")
			case 2:
				panic("out of paper")
			case 3:
				return 0, primitives.ErrSkip
			}
			return n * 10, nil
		}}
		got := run(t, source, 4, 10, 0)
		if got[0].Value != 0 || got[0].Err != "" || !strings.Contains(got[1].Err, "beat 1: no reading") ||
			!strings.Contains(got[2].Err, "panic: out of paper") || got[3].Value != 40 || got[3].Offset != 4 {
			t.Errorf("got %+v", got)
		}
	})
}

func TestValidate(t *testing.T) {
	next := func(context.Context, int64) (int, error) { return 0, nil }
	for _, c := range []struct {
		source primitives.Validator
		want   string
	}{
		{pulse.Items[int]{}, "Items is empty"},
		{pulse.Items[int]{Items: []int{1}, Every: -1}, "Every is -1ns"},
		{pulse.Items[int]{Items: []int{1}, Count: -1}, "Count is -1"},
		{pulse.Func[int]{}, "Next of a Func is nil"},
		{pulse.Func[int]{Next: next, Every: -1}, "Every is -1ns"},
	} {
		if err := c.source.Validate(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: got %v, want %q", c.source, err, c.want)
		}
	}
	if _, err := (pulse.Items[chan int]{}).Decoder(); err == nil {
		t.Error("a channel has a decoder")
	}
	if _, err := (pulse.Items[chan int]{Items: make([]chan int, 1)}).OpenSource(t.Context(), env()); err == nil {
		t.Error("a channel is encoded")
	}
	if s := (pulse.Items[int]{}).String(); s != "pulse:1s" {
		t.Errorf("got %q", s)
	}
}

func Example() {
	source := pulse.Items[string]{Items: []string{"tick", "tock"}, Every: time.Minute, Count: 10}
	_ = source // the first argument of flow.Consumer
}
