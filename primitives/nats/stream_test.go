package nats

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/primitivetest"
)

func TestValidate(t *testing.T) {
	if err := (Stream[string]{Name: "orders"}).Validate(); err != nil {
		t.Errorf("just a name: %v", err)
	}
	for _, c := range []struct {
		s    Stream[string]
		want string
	}{
		{Stream[string]{}, "Name is empty"},
		{Stream[string]{Name: "a.b"}, `use "a_b"`},
		{Stream[string]{Name: "a", Subject: "a..b"}, "Subject"},
		{Stream[string]{Name: "a", Subject: "a.>.b"}, "Subject"},
		{Stream[string]{Name: "a", Durable: "x.y"}, `use "x_y"`},
		{Stream[string]{Name: "a", Retention: 9}, "Retention"},
		{Stream[string]{Name: "a", Sync: 9}, "Sync"},
		{Stream[string]{Name: "a", AckWait: time.Millisecond}, "AckWait"},
		{Stream[string]{Name: "a", Replicas: 7}, "Replicas"},
		{Stream[string]{Name: "a", MaxInFlight: -1}, "MaxInFlight"},
		{Stream[string]{Name: "a", CertFile: "x"}, "KeyFile"},
	} {
		if err := c.s.Validate(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.s, err, c.want)
		}
	}
	if _, err := (Stream[string]{Name: "a", Subject: "a.>"}).Encoder(); err == nil {
		t.Error("a subject with wildcards can be written to")
	}
}

// A folder has one owner, and the message says what to do.
func TestFolderInUse(t *testing.T) {
	ctx, env := testContext(t), place(t, "p")
	s := Stream[string]{Name: "q"}
	openTestWriter(t, ctx, env, s)
	other := *env
	other.Shared = &primitives.Shared{}
	_, err := s.OpenSink(ctx, &other)
	if err == nil {
		t.Fatal("two servers on one folder")
	}
	for _, want := range []string{"in use by process", "FLOW_DATA", listenVar, urlVar} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
}

func TestSyncDiffers(t *testing.T) {
	ctx, env := testContext(t), place(t, "p")
	openTestWriter(t, ctx, env, Stream[string]{Name: "a", Sync: SyncAlways})
	if _, err := (Stream[string]{Name: "b"}).OpenSink(ctx, env); err == nil || !strings.Contains(err.Error(), "Sync") {
		t.Errorf("got %v", err)
	}
}

func TestUnreachable(t *testing.T) {
	ctx, env := testContext(t), place(t, "p")
	_, err := (Stream[string]{Name: "a", URL: "nats://user:secret@127.0.0.1:1"}).OpenSink(ctx, env)
	if err == nil || !strings.Contains(err.Error(), "127.0.0.1:1") || !strings.Contains(err.Error(), "check URL") || strings.Contains(err.Error(), "secret") {
		t.Errorf("got %v", err)
	}
}

// What is written before the first consumer is kept; what all consumers have
// acknowledged is removed; each consumer gets everything.
func TestUntilAcked(t *testing.T) {
	ctx, env := testContext(t), place(t, "early")
	s := Stream[[]byte]{Name: "q"}
	w := openTestWriter(t, ctx, env, s)
	if err := write(ctx, w, values(0, 10)...); err != nil {
		t.Fatal(err)
	}
	a, b := openTestReader(t, ctx, as(env, "a"), s), openTestReader(t, ctx, as(env, "b"), s)
	if err := write(ctx, w, values(10, 10)...); err != nil {
		t.Fatal(err)
	}
	stored := func() uint64 {
		info, err := w.link.js.Stream(ctx, "q")
		if err != nil {
			t.Fatal(err)
		}
		return info.CachedInfo().State.Msgs
	}
	readAll(t, ctx, a, 20)
	if got := stored(); got != 20 {
		t.Errorf("%d records stored after one of two consumers, want 20", got)
	}
	readAll(t, ctx, b, 20)
	if got := stored(); got != 0 {
		t.Errorf("%d records stored after both consumers, want 0", got)
	}
	// An operator deletes both: what is written next has to wait for new ones.
	for _, name := range []string{"a", "b"} {
		if err := w.link.js.DeleteConsumer(ctx, "q", name); err != nil {
			t.Fatal(err)
		}
	}
	w2 := openTestWriter(t, ctx, env, s)
	if err := write(ctx, w2, values(20, 5)...); err != nil {
		t.Fatal(err)
	}
	if got := stored(); got != 5 {
		t.Errorf("%d records stored without a consumer, want 5", got)
	}
}

// readAll runs a reader until it has got n records, and acknowledges them.
func readAll(t *testing.T, ctx context.Context, r *reader, n int) {
	t.Helper()
	in := primitivetest.NewIntake(64)
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- r.Run(running, in) }()
	for got := 0; got < n; {
		ds, err := in.Take(ctx, 64)
		if err != nil {
			t.Fatalf("%d of %d records: %v", got, n, err)
		}
		got += len(ds)
		leases := make([]any, len(ds))
		for i, d := range ds {
			leases[i] = d.Record.Lease
		}
		if err := r.Commit(ctx, []primitives.Commit{{Partition: r.partition, Leases: leases}}); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestWorkQueueHasOneConsumer(t *testing.T) {
	ctx, env := testContext(t), place(t, "p")
	s := Stream[string]{Name: "q", Retention: WorkQueue}
	openTestReader(t, ctx, as(env, "a"), s)
	openTestReader(t, ctx, as(env, "a"), s)
	if _, err := s.OpenSource(ctx, as(env, "b")); err == nil || !strings.Contains(err.Error(), "a work queue has one consumer") {
		t.Errorf("got %v", err)
	}
}

func TestMismatches(t *testing.T) {
	ctx, env := testContext(t), place(t, "p")
	w := openTestWriter(t, ctx, env, Stream[string]{Name: "q", Retention: Limits})
	if _, err := w.link.js.CreateStream(ctx, jetstream.StreamConfig{Name: "noack", NoAck: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.link.js.CreateStream(ctx, jetstream.StreamConfig{Name: "many", Subjects: []string{"many.>"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.link.js.CreateConsumer(ctx, "q", jetstream.ConsumerConfig{Durable: "all", AckPolicy: jetstream.AckAllPolicy}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		s    Stream[string]
		want string
	}{
		{Stream[string]{Name: "q", Retention: WorkQueue}, "retention Limits"},
		{Stream[string]{Name: "q", Subject: "other"}, "correct Subject"},
		{Stream[string]{Name: "noack"}, "NoAck"},
		{Stream[string]{Name: "new", Subject: "q"}, "another stream takes this subject"},
		{Stream[string]{Name: "many"}, "set Subject"},
	} {
		if _, err := c.s.OpenSink(ctx, env); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.s.Name, err, c.want)
		}
	}
	if _, err := (Stream[string]{Name: "q", Durable: "all"}).OpenSource(ctx, env); err == nil || !strings.Contains(err.Error(), "ack policy") {
		t.Errorf("got %v", err)
	}
	// Without a wish, a stream is used as it is.
	openTestReader(t, ctx, env, Stream[string]{Name: "q"})
	openTestWriter(t, ctx, env, Stream[string]{Name: "many", Subject: "many.eu"})
}

func TestMaxPayload(t *testing.T) {
	ctx, env := testContext(t), place(t, "p")
	w := openTestWriter(t, ctx, env, Stream[[]byte]{Name: "q"})
	err := write(ctx, w, primitives.Record{Value: []byte("a")}, primitives.Record{Value: make([]byte, maxPayload+1)}, primitives.Record{Value: make([]byte, maxPayload)})
	var batch *primitives.BatchError
	if !errors.As(err, &batch) || len(batch.Failed) != 1 || batch.Failed[0].Index != 1 || !primitives.IsPermanent(batch.Failed[0].Err) ||
		!strings.Contains(err.Error(), "8388609") || !strings.Contains(err.Error(), "8388608") {
		t.Errorf("got %v", err)
	}
	r := openTestReader(t, ctx, env, Stream[[]byte]{Name: "q"})
	readAll(t, ctx, r, 2)
}

// A full stream refuses, and takes records again when there is room.
func TestStreamFull(t *testing.T) {
	ctx, env := testContext(t), place(t, "p")
	s := Stream[[]byte]{Name: "q", MaxMsgs: 3}
	w := openTestWriter(t, ctx, env, s)
	err := write(ctx, w, values(0, 5)...)
	var batch *primitives.BatchError
	if !errors.As(err, &batch) || len(batch.Failed) != 2 || batch.Failed[0].Index != 3 || primitives.IsPermanent(err) {
		t.Fatalf("got %v", err)
	}
	readAll(t, ctx, openTestReader(t, ctx, env, s), 3)
	if err := write(ctx, w, values(3, 2)...); err != nil {
		t.Errorf("with room again: %v", err)
	}
}

func TestMessageID(t *testing.T) {
	ctx, env := testContext(t), place(t, "p")
	s := Stream[string]{Name: "q", MsgID: func(v string) string { return "id-" + v }}
	w := openTestWriter(t, ctx, env, s)
	encode, err := s.Encoder()
	if err != nil {
		t.Fatal(err)
	}
	var out primitives.Outputs
	for _, v := range []string{"a", "b", "a"} {
		if err := encode(v, &out); err != nil {
			t.Fatal(err)
		}
	}
	if err := write(ctx, w, out.Records...); err != nil {
		t.Fatal(err)
	}
	stream, err := w.link.js.Stream(ctx, "q")
	if err != nil {
		t.Fatal(err)
	}
	if n := stream.CachedInfo().State.Msgs; n != 2 {
		t.Errorf("%d records stored, want 2", n)
	}
	// A record that brings an id from elsewhere is not dropped for it.
	plain := openTestWriter(t, ctx, env, Stream[[]byte]{Name: "r"})
	rec := primitives.Record{Value: []byte("x"), Headers: fields(natsgo.MsgIdHdr, "same")}
	if err := write(ctx, plain, rec, rec); err != nil {
		t.Fatal(err)
	}
	if stream, err = w.link.js.Stream(ctx, "r"); err != nil {
		t.Fatal(err)
	}
	if n := stream.CachedInfo().State.Msgs; n != 2 {
		t.Errorf("%d records stored, want 2", n)
	}
}

// Deleting the stream or the consumer ends Run with an error that says so.
func TestDeletedWhileRead(t *testing.T) {
	for _, what := range []string{"stream", "consumer"} {
		t.Run(what, func(t *testing.T) {
			ctx, env := testContext(t), place(t, "p")
			r := openTestReader(t, ctx, env, Stream[[]byte]{Name: "q"})
			w := openTestWriter(t, ctx, env, Stream[[]byte]{Name: "q"})
			in := primitivetest.NewIntake(10)
			ended := make(chan error, 1)
			go func() { ended <- r.Run(ctx, in) }()
			if err := write(ctx, w, values(0, 1)...); err != nil {
				t.Fatal(err)
			}
			if _, err := in.Take(ctx, 1); err != nil {
				t.Fatal(err)
			}
			var err error
			if what == "stream" {
				err = w.link.js.DeleteStream(ctx, "q")
			} else {
				err = w.link.js.DeleteConsumer(ctx, "q", "p")
			}
			if err != nil {
				t.Fatal(err)
			}
			select {
			case err := <-ended:
				if err == nil || !strings.Contains(err.Error(), "the "+what+" was deleted") {
					t.Errorf("got %v", err)
				}
			case <-ctx.Done():
				t.Error("Run goes on")
			}
		})
	}
}

// A message that arrives while the reader is idle is pushed within milliseconds.
func TestIdleLatency(t *testing.T) {
	ctx, env := testContext(t), place(t, "p")
	s := Stream[[]byte]{Name: "q"}
	r, w := openTestReader(t, ctx, env, s), openTestWriter(t, ctx, env, s)
	in := primitivetest.NewIntake(10)
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- r.Run(running, in) }()
	best := time.Hour
	for i := range 20 {
		start := time.Now()
		if err := write(ctx, w, values(i, 1)...); err != nil {
			t.Fatal(err)
		}
		ds, err := in.Take(ctx, 1)
		if err != nil {
			t.Fatal(err)
		}
		best = min(best, time.Since(start))
		if err := r.Commit(ctx, []primitives.Commit{{Partition: r.partition, Leases: []any{ds[0].Record.Lease}}}); err != nil {
			t.Fatal(err)
		}
	}
	if best > 5*time.Millisecond {
		t.Errorf("the fastest record took %v", best)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// A server that is killed and comes back is survived by an open reader and
// writer: errors on the way may pass, and nothing confirmed is missing.
func TestServerRestart(t *testing.T) {
	srv := startRemote(t)
	ctx, env := testContext(t), place(t, "p")
	s := Stream[[]byte]{Name: "q", URL: srv.url(), AckWait: time.Second}
	r, w := openTestReader(t, ctx, env, s), openTestWriter(t, ctx, env, s)
	in := primitivetest.NewIntake(16)
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- r.Run(running, in) }()
	if err := write(ctx, w, values(0, 50)...); err != nil {
		t.Fatal(err)
	}
	if err := in.Wait(ctx, func() bool { pushed, _ := in.Pushed(); return pushed >= 16 }); err != nil {
		t.Fatal(err)
	}
	srv.kill()
	<-w.link.disconnected()
	err := write(ctx, w, values(50, 1)...)
	if err == nil || primitives.IsPermanent(err) {
		t.Errorf("write without a server: %v", err)
	}
	srv.start()
	<-w.link.connected()
	<-r.link.connected()
	for err = errDisconnected; err != nil && ctx.Err() == nil; {
		err = write(ctx, w, values(50, 50)...)
	}
	seen := map[string]bool{}
	for len(seen) < 100 {
		ds, err := in.Take(ctx, 16)
		if err != nil {
			t.Fatalf("%d of 100 records: %v", len(seen), err)
		}
		var leases []any
		for _, d := range ds {
			seen[string(bytes.Clone(d.Record.Value))] = true
			leases = append(leases, d.Record.Lease)
		}
		for err = errDisconnected; err != nil && ctx.Err() == nil; {
			err = r.Commit(ctx, []primitives.Commit{{Partition: r.partition, Leases: leases}})
		}
	}
	if len(in.Retries()) == 0 {
		t.Error("the loss of the server was not reported")
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// Others use the embedded queue through a port that was asked for.
func TestListen(t *testing.T) {
	t.Setenv(listenVar, "127.0.0.1:0")
	ctx, env := testContext(t), place(t, "p")
	w := openTestWriter(t, ctx, env, Stream[[]byte]{Name: "q"})
	url := w.link.server.ClientURL()
	if err := write(ctx, w, values(0, 3)...); err != nil {
		t.Fatal(err)
	}
	t.Setenv(urlVar, url)
	readAll(t, ctx, openTestReader(t, ctx, place(t, "other"), Stream[[]byte]{Name: "q"}), 3)
}
