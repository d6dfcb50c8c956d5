package kafka

import (
	"errors"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/primitivetest"
)

// one reads the partition out/0, which has n records.
func one(t *testing.T, n int) (m *member, p primitives.Partition, next func() int64, commitErrors func(int)) {
	c := fake(t)
	topic := Topic[[]byte]{Name: "out", Group: "g", Cluster: at(c), Start: Earliest}
	write(t, topic, in(0, 0, n)...)
	m = join(t, topic, 100)
	m.owns(testContext(t), 1)
	p = primitives.Partition{Topic: "out"}
	next = func() int64 {
		t.Helper()
		return committed(t, c.ListenAddrs(), "g", p)
	}
	commitErrors = func(times int) {
		c.ControlKey(int16(kmsg.OffsetCommit), func(kmsg.Request) (kmsg.Response, error, bool) {
			c.KeepControl()
			if times--; times >= 0 {
				return nil, errors.New("cut"), true
			}
			return nil, nil, false
		})
	}
	return m, p, next, commitErrors
}

func TestDelivery_085_seek(t *testing.T) {
	m, p, next, _ := one(t, 5)
	ctx := testContext(t)
	old := m.take(ctx, 5)[0].Lane
	if err := m.Seek(ctx, p, 1); err != nil {
		t.Fatal(err)
	}
	if got := next(); got != 1 {
		t.Errorf("committed %d, want 1", got)
	}
	if ds := m.take(ctx, 4); ds[0].Record.Offset != 1 || ds[0].Lane == old {
		t.Errorf("goes on with %d", ds[0].Record.Offset)
	}
	if _, lost := old.Released(); !lost {
		t.Error("the old lane is not lost")
	}
	late := []primitives.Commit{{Partition: p, Epoch: old.Epoch(), Next: 5}}
	if err := m.Commit(ctx, late); !errors.Is(err, primitives.ErrNotAssigned) {
		t.Errorf("a late commit of the lane before: %v", err)
	}
	if err := m.Seek(ctx, primitives.Partition{Topic: "in"}, 1); !errors.Is(err, primitives.ErrNotAssigned) {
		t.Errorf("seek of what is not held: %v", err)
	}
}

func TestDelivery_086_seek_to_nowhere(t *testing.T) {
	m, p, next, commitErrors := one(t, 5)
	ctx := testContext(t)
	ds := m.take(ctx, 5)
	if err := m.commit(ctx, ds[:3]); err != nil {
		t.Fatal(err)
	}
	if err := m.Seek(ctx, p, -1); err == nil {
		t.Error("seek to -1 succeeds")
	}
	if lanes := m.in.Lanes(); len(lanes) != 1 || lanes[0] != ds[0].Lane {
		t.Error("seek to -1 has changed the lane")
	}
	commitErrors(2)
	if err := m.Seek(ctx, p, 1); err == nil {
		t.Error("seek succeeds without a commit")
	}
	if again := m.take(ctx, 2); again[0].Record.Offset != 3 {
		t.Errorf("after a seek that failed it goes on with %d, want what is committed: 3", again[0].Record.Offset)
	}
	// Beyond the end it is accepted, and then out of range.
	if err := m.Seek(ctx, p, 1000); err != nil {
		t.Fatal(err)
	}
	if err := m.end(); err == nil || !strings.Contains(err.Error(), "offset 1000 is out of range") {
		t.Errorf("Run: %v, want out of range", err)
	}
	if got := next(); got != 1000 {
		t.Errorf("committed %d, want 1000", got)
	}
}

func TestDelivery_088_pause_and_seek(t *testing.T) {
	m, p, _, _ := one(t, 5)
	ctx := testContext(t)
	m.take(ctx, 5)
	ps := []primitives.Partition{p}
	for _, test := range []struct {
		name string
		do   func() error
		want int64
	}{
		{"seek, pause, resume", func() error {
			m.Pause(ps) // so that it is not too late for the pause
			err := m.Seek(ctx, p, 3)
			m.Pause(ps)
			m.Resume(ps)
			return err
		}, 3},
		{"pause, seek, resume", func() error {
			m.Pause(ps)
			err := m.Seek(ctx, p, 0)
			before, _ := m.in.Pushed()
			m.in.Lanes()
			if now, _ := m.in.Pushed(); now != before {
				t.Error("a paused partition is read after a seek")
			}
			m.Resume(ps)
			return err
		}, 0},
	} {
		if err := test.do(); err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		ds := m.take(ctx, int(5-test.want))
		if ds[0].Record.Offset != test.want {
			t.Errorf("%s: goes on with %d, want %d", test.name, ds[0].Record.Offset, test.want)
		}
	}
}

// While it is paused, a partition gets nothing after a seek either.
func TestSeekKeepsThePause(t *testing.T) {
	m, p, _, _ := one(t, 5)
	ctx := testContext(t)
	m.take(ctx, 5)
	m.Pause([]primitives.Partition{p})
	if err := m.Seek(ctx, p, 2); err != nil {
		t.Fatal(err)
	}
	var lane *primitivetest.Lane
	if err := m.in.Wait(ctx, func() bool {
		lanes := m.in.Lanes()
		if len(lanes) == 1 {
			lane = lanes[0]
		}
		return lane != nil && lane.Start == 2
	}); err != nil {
		t.Fatal(err)
	}
	m.Resume([]primitives.Partition{p})
	if ds := m.take(ctx, 3); ds[0].Record.Offset != 2 {
		t.Errorf("goes on with %d", ds[0].Record.Offset)
	}
}
