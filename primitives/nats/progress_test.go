package nats

import (
	"testing"

	"github.com/flowkit-go/flow/primitives"
)

// A progress tells what waits for all, whoever runs, also before the consumer exists.
func TestBacklogOfAQueue(t *testing.T) {
	ctx, env := testContext(t), place(t, "read")
	all := Stream[string]{Name: "orders"}
	some := Stream[string]{Name: "orders", Subject: "orders.new", Durable: "some"}
	none := Stream[string]{Name: "orders", Subject: "orders.old", Durable: "none"}
	w := openTestWriter(t, ctx, env, Stream[string]{Name: "orders", Subject: "orders.new"})
	if err := write(ctx, w, values(0, 10)...); err != nil {
		t.Fatal(err)
	}
	waiting := func(s Stream[string]) int64 {
		t.Helper()
		p, err := s.OpenProgress(ctx, env)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = p.Close(ctx) }()
		b, err := p.(primitives.Backlogger).Backlog(ctx)
		if err != nil || len(b) != 1 || b[0].Partition != (primitives.Partition{Topic: "orders"}) {
			t.Fatalf("%v, %v", b, err)
		}
		return b[0].Records
	}
	for name, tc := range map[string]struct {
		s    Stream[string]
		want int64
	}{"all": {all, 10}, "of a subject": {some, 10}, "of a subject without records": {none, 0}} {
		if n := waiting(tc.s); n != tc.want {
			t.Errorf("%s before there is a consumer: %d wait, want %d", name, n, tc.want)
		}
	}
	p, err := some.OpenProgress(ctx, env)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close(ctx) }()
	if err := p.Reset(ctx, []primitives.Commit{{Partition: primitives.Partition{Topic: "orders"}, Next: 4}}); err != nil {
		t.Fatal(err) // it makes the consumer
	}
	if n := waiting(some); n != 7 {
		t.Errorf("%d wait behind the first three, want 7", n)
	}
	gone, err := Stream[string]{Name: "missing"}.OpenProgress(ctx, env)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = gone.Close(ctx) }()
	if b, err := gone.(primitives.Backlogger).Backlog(ctx); err == nil {
		t.Errorf("%v wait in a stream that there is not, want an error: that is not known", b)
	}
}
