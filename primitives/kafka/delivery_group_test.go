package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/primitivetest"
)

// two is a cluster with the topic "in" of two partitions with records of each.
func two(t testing.TB, records int) *kfake.Cluster {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, "in"), kfake.GroupMinSessionTimeout(100*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	for p := range int32(2) {
		if records > 0 {
			write(t, Topic[[]byte]{Name: "in", Cluster: at(c)}, in(p, 0, records)...)
		}
	}
	return c
}

// gate makes Revoke wait for open, then commits what was taken.
func gate(m *member) (began <-chan []*primitivetest.Lane, open chan<- struct{}) {
	started, opened := make(chan []*primitivetest.Lane, 10), make(chan struct{})
	m.in.OnRevoke = func(ctx context.Context, lanes []*primitivetest.Lane) error {
		started <- lanes
		select {
		case <-opened:
		case <-ctx.Done():
			return ctx.Err()
		}
		var commits []primitives.Commit
		for _, l := range lanes {
			commits = append(commits, primitives.Commit{Partition: l.Partition, Epoch: l.Epoch(), Next: 1})
		}
		return m.Commit(ctx, commits)
	}
	return started, opened
}

// testEager: what is in flight is finished and committed before the partitions are
// released, and the next member starts there.
func testEager(t *testing.T, c Cluster, name string) {
	for _, b := range []Balance{Range, RoundRobin, Sticky} {
		t.Run(string(b), func(t *testing.T) {
			ctx := testContext(t)
			topic := quick(c, name+"-"+string(b))
			topic.Name, topic.Balance = name, []Balance{b}
			intake := primitivetest.NewIntake(1)
			a := newMember(t, topic, intake)
			began, open := gate(a)
			a.start()
			a.owns(ctx, 2)
			a.take(ctx, 1) // in flight
			second := join(t, topic, 1)
			lanes := <-began
			if len(lanes) != 2 {
				t.Errorf("%d lanes are revoked, want both", len(lanes))
			}
			if n := len(second.in.Lanes()); n != 0 {
				t.Errorf("the second has %d lanes while the first works", n)
			}
			close(open)
			a.owns(ctx, 1)
			second.owns(ctx, 1)
			for _, l := range slices.Concat(a.in.Lanes(), second.in.Lanes()) {
				if l.Start != 1 {
					t.Errorf("%s starts at %d, want what was committed: 1", l.Partition, l.Start)
				}
			}
			for _, l := range lanes {
				if gone, lost := l.Released(); !gone || lost {
					t.Errorf("%s: released %v, lost %v", l.Partition, gone, lost)
				}
			}
		})
	}
}

func TestDelivery_078_eager_rebalance(t *testing.T) { testEager(t, at(two(t, 5)), "in") }

func TestDelivery_078_eager_rebalance_real(t *testing.T) {
	brokers := realBrokers(t)
	name := create(t, brokers, 2, nil)
	for p := range int32(2) {
		write(t, Topic[[]byte]{Name: name, Cluster: Cluster{Brokers: brokers}}, in(p, 0, 5)...)
	}
	testEager(t, Cluster{Brokers: brokers}, name)
}

// testCooperative: only the partition that moves is given back, the lane of the other
// goes on and is not started anew; the new owner begins when it was committed.
func testCooperative(t *testing.T, c Cluster, name string) {
	ctx := testContext(t)
	topic := quick(c, name)
	topic.Name = name
	a := newMember(t, topic, primitivetest.NewIntake(1))
	began, open := gate(a)
	a.start()
	a.owns(ctx, 2)
	before := a.in.Lanes()
	second := join(t, topic, 100)
	moved := <-began
	if len(moved) != 1 {
		t.Fatalf("%d lanes are revoked, want one", len(moved))
	}
	stays := before[0]
	if stays == moved[0] {
		stays = before[1]
	}
	// The other lane works on while this one drains.
	for want := int64(0); want < 5; want++ {
		ds, err := stays.Take(ctx, 1)
		if err != nil {
			t.Fatalf("the lane that stays gets nothing: %v", err)
		}
		if ds[0].Record.Offset != want {
			t.Errorf("offset %d, want %d", ds[0].Record.Offset, want)
		}
		if err := a.commit(ctx, ds); err != nil {
			t.Errorf("commit of the lane that stays: %v", err)
		}
	}
	if n := len(second.in.Lanes()); n != 0 {
		t.Errorf("the second has %d lanes while the first drains", n)
	}
	close(open)
	second.owns(ctx, 1)
	lane := second.in.Lanes()[0]
	if lane.Partition != moved[0].Partition || lane.Start != 1 {
		t.Errorf("the second has %s from %d, want %s from 1", lane.Partition, lane.Start, moved[0].Partition)
	}
	if lanes := a.in.Lanes(); len(lanes) != 1 || lanes[0] != stays {
		t.Errorf("the first has %v, want the lane that it had", lanes)
	}
	if gone, lost := moved[0].Released(); !gone || lost {
		t.Errorf("released %v, lost %v", gone, lost)
	}
}

func TestDelivery_079_incremental_rebalance(t *testing.T) { testCooperative(t, at(two(t, 5)), "in") }

func TestDelivery_079_incremental_rebalance_real(t *testing.T) {
	brokers := realBrokers(t)
	name := create(t, brokers, 2, nil)
	for p := range int32(2) {
		write(t, Topic[[]byte]{Name: name, Cluster: Cluster{Brokers: brokers}}, in(p, 0, 5)...)
	}
	testCooperative(t, Cluster{Brokers: brokers}, name)
}

// A record that waits for room while another partition is revoked is the next to come.
func TestDelivery_080_held_record_survives_a_revoke(t *testing.T) {
	c := two(t, 20)
	ctx := testContext(t)
	a := join(t, quick(at(c), "g"), 10)
	a.owns(ctx, 2)
	for _, l := range a.in.Lanes() { // both full, more waits to be pushed
		if err := a.in.Wait(ctx, func() bool { return l.Free() == 0 }); err != nil {
			t.Fatal(err)
		}
	}
	second := join(t, quick(at(c), "g"), 100)
	second.owns(ctx, 1)
	a.owns(ctx, 1)
	stays := a.in.Lanes()[0]
	for want := range int64(20) {
		ds, err := stays.Take(ctx, 1)
		if err != nil {
			t.Fatal(err)
		}
		if ds[0].Record.Offset != want {
			t.Fatalf("offset %d, want %d", ds[0].Record.Offset, want)
		}
	}
}

// What was fetched before a revoke and waits for room goes to no lane after it.
func TestDelivery_091_fetched_before_delivered_after(t *testing.T) {
	c := two(t, 20)
	ctx := testContext(t)
	a := newMember(t, quick(at(c), "g"), primitivetest.NewIntake(5))
	began, open := gate(a)
	a.start()
	a.owns(ctx, 2)
	for _, l := range a.in.Lanes() {
		if err := a.in.Wait(ctx, func() bool { return l.Free() == 0 }); err != nil {
			t.Fatal(err)
		}
	}
	second := join(t, quick(at(c), "g"), 100)
	lanes := <-began
	if _, err := lanes[0].Take(ctx, 5); err != nil { // there is room now
		t.Fatal(err)
	}
	close(open)
	ds := second.take(ctx, 19)
	if ds[0].Record.Offset != 1 || ds[0].Lane.Partition != lanes[0].Partition {
		t.Errorf("the next owner begins with %s@%d, want %s@1", ds[0].Lane.Partition, ds[0].Record.Offset, lanes[0].Partition)
	}
	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond) // for what should not come
	defer cancel()
	if ds, err := lanes[0].Take(short, 1); err == nil {
		t.Errorf("%s@%d came to the lane that was given back", lanes[0].Partition, ds[0].Record.Offset)
	}
}

// A coordinator that refuses for ever is asked with pauses.
func TestJoinsArePaced(t *testing.T) {
	for _, code := range []*kerr.Error{kerr.UnknownMemberID, kerr.IllegalGeneration, kerr.RebalanceInProgress, kerr.NotCoordinator, kerr.CoordinatorLoadInProgress} {
		t.Run(code.Message, func(t *testing.T) {
			c := fake(t)
			joins, refuse := make(chan struct{}, 1000), make(chan struct{})
			c.ControlKey(int16(kmsg.JoinGroup), func(r kmsg.Request) (kmsg.Response, error, bool) {
				c.KeepControl()
				select {
				case <-refuse:
					return nil, nil, false
				default:
				}
				joins <- struct{}{}
				response := r.ResponseKind().(*kmsg.JoinGroupResponse)
				response.ErrorCode = code.Code
				return response, nil, true
			})
			intake := primitivetest.NewIntake(10)
			intake.RetryDelay = 200 * time.Millisecond
			m := newMember(t, quick(at(c), "g"), intake)
			m.start()
			<-time.After(time.Second)
			if n := len(joins); n == 0 || n > 12 {
				t.Errorf("%d joins in a second, with retries every 200 ms", n)
			}
			close(refuse)
			m.owns(testContext(t), 4)
		})
	}
}

// What can't be mended by trying again ends the reader, with what to do.
func TestJoinsRefusedForGood(t *testing.T) {
	for code, want := range map[*kerr.Error]string{
		kerr.InconsistentGroupProtocol: "Balance", kerr.InvalidSessionTimeout: "SessionTimeout", kerr.GroupAuthorizationFailed: "group g",
	} {
		t.Run(code.Message, func(t *testing.T) {
			c := fake(t)
			c.ControlKey(int16(kmsg.JoinGroup), func(r kmsg.Request) (kmsg.Response, error, bool) {
				response := r.ResponseKind().(*kmsg.JoinGroupResponse)
				response.ErrorCode = code.Code
				return response, nil, true
			})
			m := newMember(t, quick(at(c), "g"), primitivetest.NewIntake(10))
			m.start()
			if err := m.end(); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("Run: %v, want an error with %q", err, want)
			}
		})
	}
}

// Members come and go: each is told what it has, and one with nothing is content.
func TestDelivery_082_083_assignments(t *testing.T) {
	c := fake(t)
	ctx := testContext(t)
	topic := quick(at(c), "g")
	topic.Name = "out" // of one partition
	a := join(t, topic, 10)
	a.owns(ctx, 1)
	b := join(t, topic, 10)
	if _, err := c.WaitGroupStable(ctx, "g", 2); err != nil {
		t.Fatal(err)
	}
	if n := len(b.in.Lanes()); n != 0 {
		t.Errorf("the second has %d lanes", n)
	}
	b.leave() // with nothing to give back
	if _, err := c.WaitGroupStable(ctx, "g", 1); err != nil {
		t.Fatal(err)
	}
	d := join(t, topic, 10)
	if _, err := c.WaitGroupStable(ctx, "g", 2); err != nil {
		t.Fatal(err)
	}
	first := a.in.Lanes()[0]
	a.leave()
	d.owns(ctx, 1)
	// A record of before, pushed to the lane that is gone, is refused.
	a.in.Lose(first)
	if _, err := first.Push(ctx, numbered(0, 1)); !errors.Is(err, primitives.ErrReleased) {
		t.Errorf("push to a lane that is gone: %v", err)
	}
}

// testThereAndBack: a partition that comes back goes on where its other owner has
// committed. The topic has two partitions of ten records.
func testThereAndBack(t *testing.T, c Cluster, name string) {
	ctx := testContext(t)
	topic := quick(c, "g-"+name)
	topic.Name = name
	a := join(t, topic, 100)
	ds := a.take(ctx, 20)
	var early []primitivetest.Delivery
	for _, d := range ds {
		if d.Record.Offset < 3 {
			early = append(early, d)
		}
	}
	if err := a.commit(ctx, early); err != nil {
		t.Fatal(err)
	}
	b := join(t, topic, 100)
	a.owns(ctx, 1)
	theirs := b.take(ctx, 7)
	if theirs[0].Record.Offset != 3 {
		t.Errorf("the second begins at %d, want 3", theirs[0].Record.Offset)
	}
	if err := b.commit(ctx, theirs[:4]); err != nil {
		t.Fatal(err)
	}
	moved := theirs[0].Lane.Partition
	b.leave()
	a.owns(ctx, 2)
	for _, l := range a.in.Lanes() {
		if l.Partition != moved {
			continue
		}
		again, err := l.Take(ctx, 3)
		if err != nil || l.Start != 7 || again[0].Record.Offset != 7 {
			t.Fatalf("the first goes on at %d with %v, %v, want 7", l.Start, again, err)
		}
		// What is late of the first ownership does not count, what is new does.
		for _, d := range ds {
			if d.Lane.Partition == moved {
				err := a.Commit(ctx, []primitives.Commit{{Partition: moved, Epoch: d.Lane.Epoch(), Next: 10}})
				if !errors.Is(err, primitives.ErrNotAssigned) {
					t.Errorf("late commit: %v, want ErrNotAssigned", err)
				}
				break
			}
		}
		if err := a.commit(ctx, again[:1]); err != nil {
			t.Error(err)
		}
	}
	if got := committed(t, c.Brokers, topic.Group, moved); got != 8 {
		t.Errorf("committed %d, want 8", got)
	}
}

func TestDelivery_090_there_and_back(t *testing.T) { testThereAndBack(t, at(two(t, 10)), "in") }

func TestDelivery_090_there_and_back_real(t *testing.T) {
	brokers := realBrokers(t)
	name := create(t, brokers, 2, nil)
	for p := range int32(2) {
		write(t, Topic[[]byte]{Name: name, Cluster: Cluster{Brokers: brokers}}, in(p, 0, 10)...)
	}
	testThereAndBack(t, Cluster{Brokers: brokers}, name)
}

// A revoke whose handler never ends is given up when the group waits no longer.
func TestDelivery_092_revoke_is_bounded(t *testing.T) {
	c := two(t, 5)
	ctx := testContext(t)
	topic := quick(at(c), "g")
	topic.SessionTimeout, topic.RebalanceTimeout = 6*time.Second, 6*time.Second
	a := newMember(t, topic, primitivetest.NewIntake(10))
	began, _ := gate(a) // never opened
	a.start()
	a.owns(ctx, 2)
	b := join(t, topic, 10)
	<-began
	start := time.Now()
	b.owns(ctx, 1)
	if took := time.Since(start); took > 7*time.Second {
		t.Errorf("the partition was released after %v, want within the rebalance timeout of 6 s", took)
	}
	if got := committed(t, c.ListenAddrs(), "g", b.in.Lanes()[0].Partition); got > 0 {
		t.Errorf("committed %d", got)
	}
}

// A member that the group has thrown out loses its partitions, in contrast to giving them
// back: nothing is committed for them, and it joins anew.
func TestDelivery_095_lost(t *testing.T) {
	for name, code := range map[string]int16{"unknown member": kerr.UnknownMemberID.Code, "illegal generation": kerr.IllegalGeneration.Code} {
		t.Run(name, func(t *testing.T) {
			c := two(t, 5)
			ctx := testContext(t)
			m := newMember(t, quick(at(c), "g"), primitivetest.NewIntake(10))
			m.in.OnRevoke = func(context.Context, []*primitivetest.Lane) error {
				t.Error("Revoke was called for what is lost")
				return nil
			}
			m.start()
			m.owns(ctx, 2)
			before := m.in.Lanes()
			ds := m.take(ctx, 10)
			c.ControlKey(int16(kmsg.Heartbeat), func(r kmsg.Request) (kmsg.Response, error, bool) {
				response := r.ResponseKind().(*kmsg.HeartbeatResponse)
				response.ErrorCode = code
				return response, nil, true
			})
			err := m.in.Wait(ctx, func() bool {
				return len(m.in.Lanes()) == 2 && m.in.Lanes()[0] != before[0] && m.in.Lanes()[1] != before[0]
			})
			if err != nil {
				t.Fatalf("the partitions do not come back: %v", err)
			}
			for _, l := range before {
				if gone, lost := l.Released(); !gone || !lost {
					t.Errorf("%s: released %v, lost %v", l.Partition, gone, lost)
				}
			}
			if err := m.commit(ctx, ds); !errors.Is(err, primitives.ErrNotAssigned) {
				t.Errorf("late commit: %v, want ErrNotAssigned", err)
			}
			m.in.OnRevoke = nil
		})
	}
}

// A coordinator that does not answer for the session timeout has given the partitions to
// others, as far as one can know.
func TestDelivery_095_session_expires(t *testing.T) {
	c := two(t, 5)
	ctx := testContext(t)
	topic := quick(at(c), "g")
	topic.SessionTimeout = time.Second
	m := newMember(t, topic, primitivetest.NewIntake(10))
	m.start()
	m.owns(ctx, 2)
	before := m.in.Lanes()
	c.ControlKey(int16(kmsg.Heartbeat), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		return nil, errors.New("cut"), true // closes the connection
	})
	start := time.Now()
	if err := m.in.Wait(ctx, func() bool { _, lost := before[0].Released(); return lost }); err != nil {
		t.Fatalf("the partitions are not lost: %v", err)
	}
	if took := time.Since(start); took < 500*time.Millisecond || took > 4*time.Second {
		t.Errorf("lost after %v with a session timeout of 1 s", took)
	}
}

// After a drain has begun the membership stays until the end, then the member leaves: a
// replacement has the partitions at once.
func TestDelivery_123_leave_at_once(t *testing.T) {
	c := two(t, 50)
	testLeave(t, at(c), "in", func(ctx context.Context, members int) {
		if _, err := c.WaitGroupStable(ctx, "g-leave", members); err != nil {
			t.Fatal(err)
		}
	})
}

func TestDelivery_123_leave_at_once_real(t *testing.T) {
	brokers := realBrokers(t)
	name := create(t, brokers, 2, nil)
	for p := range int32(2) {
		write(t, Topic[[]byte]{Name: name, Cluster: Cluster{Brokers: brokers}}, in(p, 0, 50)...)
	}
	testLeave(t, Cluster{Brokers: brokers}, name, nil)
}

func testLeave(t *testing.T, c Cluster, name string, stable func(context.Context, int)) {
	ctx := testContext(t)
	topic := Topic[[]byte]{Name: name, Group: "g-leave", Cluster: c, Start: Earliest} // with heartbeats every 3 s
	a := join(t, topic, 5)
	a.owns(ctx, 2)
	ds := a.take(ctx, 1)
	a.in.Drain()
	if err := a.commit(ctx, ds); err != nil {
		t.Errorf("commit while draining: %v", err)
	}
	select {
	case err := <-a.ended:
		t.Fatalf("Run has ended with the drain: %v", err)
	case <-time.After(300 * time.Millisecond): // to end where it should not
	}
	if stable != nil {
		stable(ctx, 1)
	}
	a.leave()
	start := time.Now()
	b := join(t, topic, 5)
	b.owns(ctx, 2)
	if took := time.Since(start); took > time.Second {
		t.Errorf("the replacement has the partitions after %v, want within a second", took)
	}
}

// A broker that is down for a while is no reason to end, and none to spin.
func TestDelivery_124_broker_down(t *testing.T) {
	dir := t.TempDir()
	start := func(ports ...int) *kfake.Cluster {
		c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, "in"), kfake.DataDir(dir), kfake.SyncWrites(), kfake.Ports(ports...))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := start()
	defer func() { c.Close() }()
	port := portOf(t, c)
	topic := quick(at(c), "g")
	write(t, topic, numbered(0, 40)...)
	ctx := testContext(t)
	m := newMember(t, topic, primitivetest.NewIntake(100))
	m.in.RetryDelay = 50 * time.Millisecond // as the runtime waits at least
	m.start()
	ds := m.take(ctx, 40)
	if err := m.commit(ctx, ds[:20]); err != nil {
		t.Fatal(err)
	}
	c.Close()
	down := 3 * time.Second
	<-time.After(down)
	if n := len(m.in.Retries()); n == 0 || n > 4*int(down/m.in.RetryDelay) {
		t.Errorf("%d retries in %v", n, down)
	}
	c = start(port)
	write(t, topic, numbered(40, 40)...)
	values := map[string]bool{}
	for _, d := range ds {
		values[string(d.Record.Value)] = true
	}
	for len(values) < 80 {
		for _, d := range m.take(ctx, 1) {
			values[string(d.Record.Value)] = true
			if err := m.commit(ctx, []primitivetest.Delivery{d}); err != nil && !errors.Is(err, primitives.ErrNotAssigned) {
				t.Logf("commit: %v", err)
			}
		}
	}
}

func portOf(t testing.TB, c *kfake.Cluster) int {
	t.Helper()
	_, port, ok := strings.Cut(c.ListenAddrs()[0], ":")
	n := 0
	for _, d := range port {
		n = 10*n + int(d-'0')
	}
	if !ok || n == 0 {
		t.Fatalf("no port in %v", c.ListenAddrs())
	}
	return n
}

// Members of another client library are in the group: a partition is with one of them.
func testMixedGroup(t *testing.T, c Cluster, name string) {
	ctx := testContext(t)
	for i, balancer := range []kgo.GroupBalancer{kgo.CooperativeStickyBalancer(), kgo.RangeBalancer(), kgo.StickyBalancer()} {
		t.Run(balancer.ProtocolName(), func(t *testing.T) {
			topic := quick(c, fmt.Sprint(name, "-mixed-", i))
			topic.Name, topic.Balance = name, []Balance{Balance(balancer.ProtocolName())}
			a := join(t, topic, 1000)
			a.owns(ctx, 4)
			assigned := make(chan int, 10)
			client, err := kgo.NewClient(kgo.SeedBrokers(c.Brokers...), kgo.ConsumerGroup(topic.Group), kgo.ConsumeTopics(name),
				kgo.Balancers(balancer), kgo.HeartbeatInterval(50*time.Millisecond), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
				kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, added map[string][]int32) {
					if n := len(added[name]); n > 0 {
						assigned <- n
					}
				}))
			if err != nil {
				t.Fatal(err)
			}
			got := 0
			for got < 2 {
				polling, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
				client.PollFetches(polling)
				cancel()
				select {
				case n := <-assigned:
					got += n
				default:
				}
				if ctx.Err() != nil {
					t.Fatal("the other member gets nothing")
				}
			}
			a.owns(ctx, 2)
			client.Close()
			a.owns(ctx, 4)
		})
	}
}

func TestMixedGroup(t *testing.T) { testMixedGroup(t, at(fake(t)), "in") }

func TestMixedGroup_real(t *testing.T) {
	brokers := realBrokers(t)
	testMixedGroup(t, Cluster{Brokers: brokers}, create(t, brokers, 4, nil))
}
