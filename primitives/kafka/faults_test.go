package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/primitivetest"
)

// pausing is an Intake of a flow that is paused: it pauses a partition while its lane is
// being assigned.
type pausing struct {
	*primitivetest.Intake
	reader primitives.Pauser
}

func (in pausing) Assign(p primitives.Partition, start int64) primitives.Lane {
	lane := in.Intake.Assign(p, start)
	in.reader.Pause([]primitives.Partition{p})
	return lane
}

// A partition that is paused from within Assign is not read before Resume, also after it
// was begun anew.
func TestPauseWithinAssign(t *testing.T) {
	c := two(t, 5)
	ctx := testContext(t)
	m := newMember(t, quick(at(c), "g"), primitivetest.NewIntake(100))
	m.startWith(pausing{m.in, m.reader})
	m.owns(ctx, 2)
	lane := m.in.Lanes()[0]
	m.Reclaim(lane.Partition, lane.Epoch())
	if err := m.in.Wait(ctx, func() bool { gone, _ := lane.Released(); return gone && len(m.in.Lanes()) == 2 }); err != nil {
		t.Fatal(err)
	}
	if n, _ := m.in.Pushed(); n != 0 {
		t.Errorf("%d records of paused partitions", n)
	}
	all, err := m.Partitions(ctx)
	if err != nil {
		t.Fatal(err)
	}
	m.Resume(all)
	m.take(ctx, 10)
}

// leaderless answers all questions about topics with partition 0 of "in" without a leader.
func leaderless(c *kfake.Cluster, port int32) {
	c.ControlKey(int16(kmsg.Metadata), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		response := r.ResponseKind().(*kmsg.MetadataResponse)
		b := kmsg.NewMetadataResponseBroker()
		b.NodeID, b.Host, b.Port = 0, "127.0.0.1", port
		response.Brokers = append(response.Brokers, b)
		topic := kmsg.NewMetadataResponseTopic()
		topic.Topic, topic.TopicID = kmsg.StringPtr("in"), c.TopicInfo("in").TopicID
		for id := range int32(2) {
			p := kmsg.NewMetadataResponseTopicPartition()
			p.Partition, p.Replicas, p.ISR = id, []int32{0}, []int32{0}
			if id == 0 {
				p.Leader, p.ErrorCode = -1, kerr.LeaderNotAvailable.Code
			}
			topic.Partitions = append(topic.Partitions, p)
		}
		response.Topics = append(response.Topics, topic)
		return response, nil, true
	})
}

// A partition without a leader keeps neither the group from sharing out the partitions
// nor the others from being read.
func TestPartitionWithoutLeader(t *testing.T) {
	c := two(t, 5)
	ctx := testContext(t)
	var port int32
	if _, err := fmt.Sscanf(c.ListenAddrs()[0], "127.0.0.1:%d", &port); err != nil {
		t.Fatal(err)
	}
	for _, commit := range []bool{true, false} {
		group := map[bool]string{true: "known", false: "fresh"}[commit]
		topic := quick(at(c), group)
		if commit {
			first := join(t, topic, 100)
			if err := first.commit(ctx, first.take(ctx, 10)[:0]); err != nil {
				t.Fatal(err)
			}
			ps, err := first.Partitions(ctx)
			if err != nil {
				t.Fatal(err)
			}
			var commits []primitives.Commit
			for _, p := range ps {
				commits = append(commits, primitives.Commit{Partition: p, Next: 1})
			}
			if err := first.Commit(ctx, commits); err != nil {
				t.Fatal(err)
			}
			first.leave()
		}
	}
	leaderless(c, port)
	for group, want := range map[string]int{"known": 4, "fresh": 5} {
		t.Run(group, func(t *testing.T) {
			m := join(t, quick(at(c), group), 100)
			for _, d := range m.take(testContext(t), want) {
				if d.Lane.Partition.ID != 1 {
					t.Errorf("a record of %s", d.Lane.Partition)
				}
			}
		})
	}
}

// A topic that is gone, or that only another member reads, does not keep the group from
// sharing out the partitions of the others.
func TestTopicDeleted(t *testing.T) {
	c := fake(t)
	ctx := testContext(t)
	write(t, Topic[[]byte]{Name: "in", Cluster: at(c)}, numbered(0, 40)...)
	open := func() *member {
		both := Topics[[]byte]{Names: []string{"in", "out"}, Group: "g", Cluster: at(c), Start: Earliest, HeartbeatInterval: 50 * time.Millisecond, SessionTimeout: 6 * time.Second}
		r, err := both.OpenSource(ctx, place(t, "p"))
		if err != nil {
			t.Fatal(err)
		}
		m := &member{reader: r.(*reader), t: t, in: primitivetest.NewIntake(100), ended: make(chan error, 1)}
		m.start()
		return m
	}
	a := open()
	a.owns(ctx, 5)
	b := open()
	b.owns(ctx, 2)
	if err := c.DeleteTopic("out"); err != nil {
		t.Fatal(err)
	}
	b.leave()
	if err := a.in.Wait(ctx, func() bool {
		n := 0
		for _, l := range a.in.Lanes() {
			if l.Partition.Topic == "in" {
				n++
			}
		}
		return n == 4
	}); err != nil {
		t.Fatalf("the member has %v: %v %v", a.in.Lanes(), err, a.last())
	}
}

// The leader of a group notices partitions of topics that only others read.
func TestTopicOfAnotherMemberGrows(t *testing.T) {
	c := fake(t)
	ctx := testContext(t)
	topic := quick(at(c), "g")
	topic.MetadataInterval = 100 * time.Millisecond
	leader := join(t, topic, 10)
	leader.owns(ctx, 4)
	other := topic
	other.Name = "out"
	follower := join(t, other, 10)
	follower.owns(ctx, 1)
	if _, err := admin(t, c.ListenAddrs()).CreatePartitions(ctx, 2, "out"); err != nil {
		t.Fatal(err)
	}
	follower.owns(ctx, 3)
}

// Answers without a record though the log has some, as brokers give that read from a
// slower store, take nothing away.
func TestEmptyAnswersBelowTheEnd(t *testing.T) {
	c := fake(t)
	topic := Topic[[]byte]{Name: "out", Group: "g", Cluster: at(c), Start: Earliest}
	write(t, topic, in(0, 0, 10)...)
	answered := 0
	c.ControlKey(int16(kmsg.Fetch), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		if answered++; answered > 20 {
			return nil, nil, false
		}
		request := r.(*kmsg.FetchRequest)
		response := request.ResponseKind().(*kmsg.FetchResponse)
		for _, rt := range request.Topics {
			topic := kmsg.NewFetchResponseTopic()
			topic.Topic, topic.TopicID = rt.Topic, rt.TopicID
			for _, rp := range rt.Partitions {
				p := kmsg.NewFetchResponseTopicPartition()
				p.Partition, p.HighWatermark, p.LastStableOffset = rp.Partition, 10, 10
				topic.Partitions = append(topic.Partitions, p)
			}
			response.Topics = append(response.Topics, topic)
		}
		return response, nil, true
	})
	m := join(t, topic, 100)
	for i, d := range m.take(testContext(t), 10) {
		if d.Record.Offset != int64(i) {
			t.Fatalf("offset %d, want %d", d.Record.Offset, i)
		}
	}
}

// A commit that was on its way when the member was thrown out is not made again as the
// new member: the partition may have gone on elsewhere.
func TestCommitOfAFormerMember(t *testing.T) {
	c := two(t, 5)
	ctx := testContext(t)
	a := join(t, quick(at(c), "g"), 100)
	ds := a.take(ctx, 10)
	id := a.Member().ID
	refused := make(chan struct{})
	c.ControlKey(int16(kmsg.OffsetCommit), func(r kmsg.Request) (kmsg.Response, error, bool) {
		// The request is here; before it is answered the member loses its membership
		// and joins anew.
		close(refused)
		c.SleepControl(func() {
			_ = a.in.Wait(ctx, func() bool { return a.Member().ID != id && a.Member().Generation > 0 && len(a.in.Lanes()) == 2 })
		})
		response := r.ResponseKind().(*kmsg.OffsetCommitResponse)
		for _, topic := range r.(*kmsg.OffsetCommitRequest).Topics {
			rt := kmsg.NewOffsetCommitResponseTopic()
			rt.Topic = topic.Topic
			for _, p := range topic.Partitions {
				rp := kmsg.NewOffsetCommitResponseTopicPartition()
				rp.Partition, rp.ErrorCode = p.Partition, kerr.UnknownMemberID.Code
				rt.Partitions = append(rt.Partitions, rp)
			}
			response.Topics = append(response.Topics, rt)
		}
		return response, nil, true
	})
	result := make(chan error, 1)
	go func() { result <- a.commit(ctx, ds) }()
	<-refused
	c.ControlKey(int16(kmsg.Heartbeat), func(r kmsg.Request) (kmsg.Response, error, bool) {
		response := r.ResponseKind().(*kmsg.HeartbeatResponse)
		response.ErrorCode = kerr.UnknownMemberID.Code
		return response, nil, true
	})
	if err := <-result; !errors.Is(err, primitives.ErrNotAssigned) {
		t.Errorf("Commit: %v, want ErrNotAssigned", err)
	}
	for _, d := range ds[:1] {
		if got := committed(t, c.ListenAddrs(), "g", d.Lane.Partition); got != -1 {
			t.Errorf("%s: %d is committed by a member that is gone", d.Lane.Partition, got)
		}
	}
}

// A partition that is assigned while the flow drains does not end the reader.
func TestAssignedWhileDraining(t *testing.T) {
	c := two(t, 5)
	ctx := testContext(t)
	a := join(t, quick(at(c), "g"), 100)
	a.owns(ctx, 2)
	b := join(t, quick(at(c), "g"), 100)
	a.owns(ctx, 1)
	b.owns(ctx, 1)
	lane := a.in.Lanes()[0]
	a.in.Drain()
	fetched := make(chan struct{})
	c.ControlKey(int16(kmsg.OffsetFetch), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		response := r.ResponseKind().(*kmsg.OffsetFetchResponse)
		for _, g := range r.(*kmsg.OffsetFetchRequest).Groups {
			rg := kmsg.NewOffsetFetchResponseGroup()
			rg.Group, rg.ErrorCode = g.Group, kerr.UnknownServerError.Code
			response.Groups = append(response.Groups, rg)
		}
		response.ErrorCode = kerr.UnknownServerError.Code
		select {
		case <-fetched:
		default:
			close(fetched)
		}
		return response, nil, true
	})
	b.leave()
	<-fetched
	select {
	case err := <-a.ended:
		a.over = true
		t.Fatalf("Run returns %v while the flow drains", err)
	case <-time.After(300 * time.Millisecond):
	}
	if err := a.Commit(ctx, []primitives.Commit{{Partition: lane.Partition, Epoch: lane.Epoch(), Next: 1}}); err != nil {
		t.Errorf("the last commit: %v", err)
	}
}

// A transaction that a process has left open does not hold up who takes the partitions
// over until it has run out: a claim ends it.
func TestOpenTransactionOfAnother(t *testing.T) {
	c := two(t, 5)
	ctx := testContext(t)
	a := join(t, quick(at(c), "g"), 100)
	p := a.take(ctx, 10)[0].Lane.Partition
	if err := a.Commit(ctx, []primitives.Commit{{Partition: p, Next: 1}}); err != nil {
		t.Fatal(err)
	}
	who := a.Member()
	pend(t, c, "g", p, who.ID, who.Generation)
	a.leave()
	b := join(t, quick(at(c), "g"), 100)
	start := time.Now()
	b.owns(ctx, 2)
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("the partitions begin after %v", took)
	}
	i := slices.IndexFunc(b.in.Lanes(), func(l *primitivetest.Lane) bool { return l.Partition == p })
	if got := b.in.Lanes()[i].Start; got != 1 {
		t.Errorf("%s begins at %d, want what is committed: 1", p, got)
	}
}

// pend leaves a transaction open that has an offset of a group.
func pend(t testing.TB, c *kfake.Cluster, group string, p primitives.Partition, member string, generation int32) {
	t.Helper()
	ctx := testContext(t)
	client := plain(t, c.ListenAddrs())
	init := kmsg.NewPtrInitProducerIDRequest()
	id := "left-open"
	init.TransactionalID, init.TransactionTimeoutMillis = &id, 60_000
	got, err := init.RequestWith(ctx, client)
	if err != nil || got.ErrorCode != 0 {
		t.Fatal(err, got)
	}
	add := kmsg.NewPtrAddOffsetsToTxnRequest()
	add.TransactionalID, add.ProducerID, add.ProducerEpoch, add.Group = id, got.ProducerID, got.ProducerEpoch, group
	if added, err := add.RequestWith(ctx, client); err != nil || added.ErrorCode != 0 {
		t.Fatal(err, added)
	}
	offsets := kmsg.NewPtrTxnOffsetCommitRequest()
	offsets.TransactionalID, offsets.ProducerID, offsets.ProducerEpoch, offsets.Group = id, got.ProducerID, got.ProducerEpoch, group
	offsets.MemberID, offsets.Generation = member, generation
	topic := kmsg.NewTxnOffsetCommitRequestTopic()
	topic.Topic, topic.TopicID = p.Topic, c.TopicInfo(p.Topic).TopicID
	partition := kmsg.NewTxnOffsetCommitRequestTopicPartition()
	partition.Partition, partition.Offset = p.ID, 4
	topic.Partitions = append(topic.Partitions, partition)
	offsets.Topics = append(offsets.Topics, topic)
	if done, err := offsets.RequestWith(ctx, client); err != nil || done.Topics[0].Partitions[0].ErrorCode != 0 {
		t.Fatal(err, done)
	}
}

// GroupCommitted has the positions of all members.
func TestGroupCommitted(t *testing.T) {
	c := two(t, 5)
	ctx := testContext(t)
	a := join(t, quick(at(c), "g"), 100)
	a.owns(ctx, 2)
	if got, err := a.GroupCommitted(ctx); err != nil || len(got) != 0 {
		t.Errorf("before the first commit: %v, %v", got, err)
	}
	b := join(t, quick(at(c), "g"), 100)
	a.owns(ctx, 1)
	b.owns(ctx, 1)
	for i, m := range []*member{a, b} {
		lane := m.in.Lanes()[0]
		if err := m.Commit(ctx, []primitives.Commit{{Partition: lane.Partition, Epoch: lane.Epoch(), Next: int64(i + 2)}}); err != nil {
			t.Fatal(err)
		}
	}
	want := []primitives.Commit{{Partition: a.in.Lanes()[0].Partition, Next: 2}, {Partition: b.in.Lanes()[0].Partition, Next: 3}}
	slices.SortFunc(want, func(a, b primitives.Commit) int { return int(a.Partition.ID - b.Partition.ID) })
	pend(t, c, "g", want[0].Partition, "", -1) // another's transaction is not waited for
	for _, m := range []*member{a, b} {
		got, err := m.GroupCommitted(ctx)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("GroupCommitted: %v\n%s", err, diff)
		}
	}
	a.leave()
	if _, err := a.GroupCommitted(ctx); !errors.Is(err, primitives.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// registered is a codec that reaches for another system when it is started.
type registered struct {
	primitives.Codec[[]byte]
	err error
}

func (r registered) StartCodec(context.Context) error { return r.err }

// A codec that cannot be started is an error of each end that is opened.
func TestCodecIsStarted(t *testing.T) {
	c := fake(t)
	ctx := testContext(t)
	down := errors.New("the registry is down")
	for _, fails := range []bool{true, false} {
		codec := registered{}
		if fails {
			codec.err = down
		}
		one := Topic[[]byte]{Name: "in", Group: "g", Cluster: at(c), Codec: codec}
		many := Topics[[]byte]{Names: []string{"in"}, Group: "g", Cluster: at(c), Codec: codec}
		for what, open := range map[string]func() (interface{ Close(context.Context) error }, error){
			"Topic.OpenSource":  func() (interface{ Close(context.Context) error }, error) { return one.OpenSource(ctx, place(t, "p")) },
			"Topics.OpenSource": func() (interface{ Close(context.Context) error }, error) { return many.OpenSource(ctx, place(t, "p")) },
			"Topic.OpenSink":    func() (interface{ Close(context.Context) error }, error) { return one.OpenSink(ctx, place(t, "p")) },
		} {
			opened, err := open()
			if fails != errors.Is(err, down) {
				t.Errorf("%s: %v", what, err)
			}
			if err == nil {
				if err := opened.Close(ctx); err != nil {
					t.Error(err)
				}
			}
		}
	}
}
