package kafka

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/primitivetest"
)

// quick is the topic "in" with heartbeats that make rebalances quick.
func quick(c Cluster, group string) Topic[[]byte] {
	return Topic[[]byte]{Name: "in", Group: group, Cluster: c, Start: Earliest, HeartbeatInterval: 50 * time.Millisecond, SessionTimeout: 6 * time.Second}
}

func TestDelivery_006_service_names(t *testing.T) {
	c := at(fake(t))
	for _, test := range []struct {
		processor, group string
		ok               bool
	}{
		{"kafka_consumer.g", "svc.g", true},
		{"kafka_consumer.a.b", "svc.a.b", true},
		{"kafka_consumer.x", "x", false},
		{"kafka_consumer.x", ".x", false},
		{"wrong", "svc.x", false},
		{"kafka_consumer.", "svc.", false},
	} {
		topic := quick(c, test.group)
		topic.ServiceNames = true
		r, err := topic.OpenSource(testContext(t), place(t, test.processor))
		if err == nil {
			if err := r.Close(testContext(t)); err != nil {
				t.Error(err)
			}
		}
		if ok := err == nil; ok != test.ok {
			t.Errorf("processor %q, group %q: %v, want accepted: %v", test.processor, test.group, err, test.ok)
		}
		if err != nil && !strings.Contains(err.Error(), "{service}.{group}") && !strings.Contains(err.Error(), `must be called "kafka_consumer.x"`) {
			t.Errorf("the error does not name the rule: %v", err)
		}
	}
}

func TestDelivery_007_unknown_topic(t *testing.T) {
	c := fake(t, kfake.SeedTopics(1, "topic_1", "topic_2", "topic_3"))
	joins := 0
	c.ControlKey(int16(kmsg.JoinGroup), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		joins++
		return nil, nil, false
	})
	topics := Topics[[]byte]{Names: []string{"topic_1", "topic_4"}, Group: "g", Cluster: at(c)}
	_, err := topics.OpenSource(testContext(t), place(t, "p"))
	if err == nil || !strings.Contains(err.Error(), "topic_4") || strings.Contains(err.Error(), "topic_1") {
		t.Errorf("error %v, want one that names topic_4 alone", err)
	}
	if joins != 0 {
		t.Errorf("the group was joined %d times", joins)
	}
	if _, err := (Topic[[]byte]{Name: "topic_4", Cluster: at(c)}).OpenSink(testContext(t), place(t, "p")); err == nil || !strings.Contains(err.Error(), "topic_4") {
		t.Errorf("sink: error %v, want one that names topic_4", err)
	}
}

// A broker that does not answer, or takes the connection and is silent, is an error
// in ten seconds that says what to set.
func TestDelivery_007_unreachable(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	for _, addr := range []string{"127.0.0.1:1", silent.Addr().String()} {
		topic := Topic[[]byte]{Name: "in", Group: "g", Cluster: Cluster{Brokers: []string{addr}}}
		start := time.Now()
		_, err := topic.OpenSource(testContext(t), place(t, "p"))
		if took := time.Since(start); err == nil || took > 10500*time.Millisecond {
			t.Errorf("%s: %v after %v, want an error within 10 s", addr, err, took)
			continue
		}
		for _, want := range []string{addr, "KAFKA_BROKERS"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("error %q does not contain %q", err, want)
			}
		}
	}
}

// One of several brokers that is silent does not keep the flow from starting.
func TestSilentBrokerAmongOthers(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	c := fake(t)
	topic := quick(Cluster{Brokers: []string{silent.Addr().String(), silent.Addr().String(), c.ListenAddrs()[0]}, OpenTimeout: 6 * time.Second}, "g")
	m := join(t, topic, 10)
	m.owns(testContext(t), 4)
}

func TestDelivery_008_effective_configuration(t *testing.T) {
	got := Topic[[]byte]{Name: "in", Group: "g"}.ConsumerConfig()
	want := map[string]string{
		"auto.offset.reset": "latest", "partition.assignment.strategy": "cooperative-sticky", "heartbeat.interval.ms": "3000",
		"session.timeout.ms": "10000", "max.poll.interval.ms": "300000", "enable.auto.offset.store": "false",
		"enable.auto.commit": "false", "group.id": "g", "isolation.level": "read_committed", "fetch.min.bytes": "1",
		"fetch.max.bytes": "8388608", "fetch.max.wait.ms": "250", "max.partition.fetch.bytes": "1048576", "metadata.max.age.ms": "60000",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if got := (Topic[[]byte]{Name: "in", FetchMaxBytes: 10_000 << 10}).ConsumerConfig()["fetch.max.bytes"]; got != "10240000" {
		t.Errorf("an override of fetch.max.bytes gives %s", got)
	}
}

// What is described is what goes over the wire.
func TestDelivery_008_on_the_wire(t *testing.T) {
	c := fake(t)
	joined := make(chan *kmsg.JoinGroupRequest, 10)
	c.ControlKey(int16(kmsg.JoinGroup), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		joined <- r.(*kmsg.JoinGroupRequest)
		return nil, nil, false
	})
	m := join(t, Topic[[]byte]{Name: "in", Group: "g", Cluster: at(c)}, 10)
	m.owns(testContext(t), 4)
	r := <-joined
	if r.SessionTimeoutMillis != 10000 || r.RebalanceTimeoutMillis != 300000 || len(r.Protocols) != 1 || r.Protocols[0].Name != "cooperative-sticky" {
		t.Errorf("joined with session %d, rebalance %d, protocols %v", r.SessionTimeoutMillis, r.RebalanceTimeoutMillis, r.Protocols)
	}
}

func testLatestAndEarliest(t *testing.T, c Cluster, name string) {
	old := Topic[[]byte]{Name: name, Cluster: c}
	write(t, old, in(0, 0, 5)...)
	ctx := testContext(t)
	latest := Topic[[]byte]{Name: name, Group: name + "-latest", Cluster: c}
	m := join(t, latest, 100)
	m.owns(ctx, 1)
	earliest := Topic[[]byte]{Name: name, Group: name + "-earliest", Cluster: c, Start: Earliest}
	e := join(t, earliest, 100)
	e.owns(ctx, 1)
	write(t, old, in(0, 5, 2)...)
	if ds := m.take(ctx, 2); string(ds[0].Record.Value) != "value-5" || string(ds[1].Record.Value) != "value-6" {
		t.Errorf("latest sees %s and %s", ds[0].Record.Value, ds[1].Record.Value)
	}
	if ds := e.take(ctx, 7); string(ds[0].Record.Value) != "value-0" {
		t.Errorf("earliest begins with %s", ds[0].Record.Value)
	}
	if n, _ := m.in.Pushed(); n != 2 {
		t.Errorf("latest sees %d records, want 2", n)
	}
	// A crash before the first commit does not lose what was written meanwhile.
	m.leave()
	again := join(t, latest, 100)
	if ds := again.take(ctx, 2); string(ds[0].Record.Value) != "value-5" {
		t.Errorf("after a crash the group goes on with %s", ds[0].Record.Value)
	}
}

func TestDelivery_009_latest_and_earliest(t *testing.T) {
	testLatestAndEarliest(t, at(fake(t)), "out")
}

func TestDelivery_009_latest_and_earliest_real(t *testing.T) {
	brokers := realBrokers(t)
	testLatestAndEarliest(t, Cluster{Brokers: brokers}, create(t, brokers, 1, nil))
}

func TestDelivery_084_start_positions(t *testing.T) {
	c := fake(t)
	topic := Topic[[]byte]{Name: "out", Cluster: at(c), HeartbeatInterval: 50 * time.Millisecond}
	write(t, topic, in(0, 0, 10)...)
	middle := time.Now().Add(time.Second).Truncate(time.Millisecond)
	late := in(0, 10, 1)
	late[0].Time = middle
	write(t, topic, late...)
	ctx := testContext(t)
	for name, test := range map[string]struct {
		start     Start
		committed int64
		want      int64
		err       string
	}{
		"committed, earliest":   {Earliest, 5, 5, ""},
		"committed, latest":     {Latest, 5, 5, ""},
		"committed, stop":       {Stop, 5, 5, ""},
		"committed, time":       {At(middle), 5, 5, ""},
		"earliest":              {Earliest, -1, 0, ""},
		"latest":                {Latest, -1, 11, ""},
		"time":                  {At(middle), -1, 10, ""},
		"time before the first": {At(time.UnixMilli(1)), -1, 0, ""},
		"time after the last":   {At(middle.Add(time.Hour)), -1, 11, ""},
		"stop without a commit": {Stop, -1, 0, "set Start"},
	} {
		t.Run(name, func(t *testing.T) {
			topic := topic
			topic.Group, topic.Start = strings.ReplaceAll(t.Name(), "/", "."), test.start
			if test.committed >= 0 {
				commitFor(t, c, topic.Group, "out", 0, test.committed)
			}
			if test.err != "" {
				r, err := topic.OpenSource(ctx, place(t, "p"))
				if err != nil {
					t.Fatal(err)
				}
				defer r.Close(ctx)
				if err := r.Run(ctx, primitivetest.NewIntake(10)); err == nil || !strings.Contains(err.Error(), test.err) || !strings.Contains(err.Error(), "out/0") {
					t.Errorf("Run: %v, want an error with %q", err, test.err)
				}
				return
			}
			m := join(t, topic, 100)
			m.owns(ctx, 1)
			if got := m.in.Lanes()[0].Start; got != test.want {
				t.Errorf("starts at %d, want %d", got, test.want)
			}
		})
	}
}

func commitFor(t testing.TB, c *kfake.Cluster, group, topic string, id int32, next int64) {
	t.Helper()
	offsets := kadm.Offsets{}
	offsets.AddOffset(topic, id, next, -1)
	if err := admin(t, c.ListenAddrs()).CommitAllOffsets(testContext(t), group, offsets); err != nil {
		t.Fatal(err)
	}
}

func TestDelivery_087_offset_below_retention(t *testing.T) {
	c := fake(t)
	topic := Topic[[]byte]{Name: "out", Cluster: at(c), Start: Earliest}
	write(t, topic, in(0, 0, 20)...)
	if err := c.DeleteRecords("out", 0, 10); err != nil {
		t.Fatal(err)
	}
	ctx := testContext(t)

	strict := topic
	strict.Group = "strict"
	commitFor(t, c, strict.Group, "out", 0, 3)
	r, err := strict.OpenSource(ctx, place(t, "p"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close(ctx)
	err = r.Run(ctx, primitivetest.NewIntake(10))
	if err == nil {
		t.Fatal("strict: Run returned nil")
	}
	for _, want := range []string{"out/0", "offset 3 ", "10 to 20", "OutOfRange", "strict"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not contain %q: %v", want, err)
		}
	}

	for policy, want := range map[OutOfRange]int64{FromEarliest: 10, FromLatest: 20} {
		lenient := topic
		lenient.Group, lenient.OutOfRange = fmt.Sprintf("lenient-%d", policy), policy
		commitFor(t, c, lenient.Group, "out", 0, 3)
		m := join(t, lenient, 100)
		m.owns(ctx, 1)
		lane := m.in.Lanes()[0]
		if err := m.in.Wait(ctx, func() bool { return lane.Advanced() == want }); err != nil {
			t.Errorf("policy %d: the lane goes on at %d, want %d", policy, lane.Advanced(), want)
		}
	}
}

// An offset beyond the end, as after a topic was made anew, is out of range too. To go on
// means to go back, which takes a lane of its own.
func TestDelivery_086_offset_beyond_the_end(t *testing.T) {
	c := fake(t)
	topic := Topic[[]byte]{Name: "out", Group: "g", Cluster: at(c), OutOfRange: FromEarliest}
	write(t, topic, in(0, 0, 5)...)
	commitFor(t, c, "g", "out", 0, 1000)
	ctx := testContext(t)
	m := join(t, topic, 100)
	ds := m.take(ctx, 5)
	if ds[0].Record.Offset != 0 || ds[0].Lane.Start != 0 {
		t.Errorf("goes on with %d in a lane from %d", ds[0].Record.Offset, ds[0].Lane.Start)
	}
	if err := m.commit(ctx, ds); err != nil {
		t.Error(err)
	}
	if got := committed(t, c.ListenAddrs(), "g", primitives.Partition{Topic: "out"}); got != 5 {
		t.Errorf("committed %d, want 5", got)
	}
}

func TestStaticMemberFromHost(t *testing.T) {
	testStaticMember(t, at(fake(t)), "in", 4)
}

func TestStaticMemberFromHost_real(t *testing.T) {
	brokers := realBrokers(t)
	testStaticMember(t, Cluster{Brokers: brokers}, create(t, brokers, 4, nil), 4)
}

func testStaticMember(t *testing.T, c Cluster, name string, partitions int) {
	t.Setenv("POD_NAME", "billing-0")
	topic := quick(c, name)
	topic.Name, topic.StaticMember = name, FromHost
	m := joinWith(t, topic, primitivetest.NewIntake(10), "bill")
	ctx := testContext(t)
	m.owns(ctx, partitions)
	groups, err := admin(t, c.Brokers).DescribeGroups(ctx, name)
	if err != nil {
		t.Fatal(err)
	}
	if id := groups[name].Members[0].InstanceID; id == nil || *id != "billing-0-bill" {
		t.Errorf("the member is %v", groups[name].Members[0])
	}
	// It comes back within the session timeout: no partition moves, no generation ends.
	generation := m.Member().Generation
	m.leave()
	again := joinWith(t, topic, primitivetest.NewIntake(10), "bill")
	again.owns(ctx, partitions)
	if g := again.Member().Generation; g != generation {
		t.Errorf("generation %d after the restart, want still %d", g, generation)
	}
}

// Two processes with one static name: the first is fenced off, and says so.
func TestStaticMemberTwice(t *testing.T) {
	c := fake(t)
	topic := quick(at(c), "g")
	topic.StaticMember = "a"
	ctx := testContext(t)
	first := join(t, topic, 10)
	first.owns(ctx, 4)
	second := join(t, topic, 10)
	second.owns(ctx, 4)
	if err := first.end(); err == nil || !strings.Contains(err.Error(), "StaticMember") {
		t.Errorf("the first ended with %v, want an error that names StaticMember", err)
	}
	if len(first.in.Lanes()) != 0 {
		t.Error("the first still has lanes")
	}
}

func TestValidate(t *testing.T) {
	for want, topic := range map[string]interface{ Validate() error }{
		"Name is empty":          Topic[int]{},
		`Name "a b"`:             Topic[int]{Name: "a b"},
		"Start -7":               Topic[int]{Name: "a", Start: -7},
		"OutOfRange 9":           Topic[int]{Name: "a", OutOfRange: 9},
		"Isolation 3":            Topic[int]{Name: "a", Isolation: 3},
		`Balance "fair"`:         Topic[int]{Name: "a", Balance: []Balance{"fair"}},
		"HeartbeatInterval 9s":   Topic[int]{Name: "a", HeartbeatInterval: 9 * time.Second},
		"SessionTimeout 10m0s":   Topic[int]{Name: "a", SessionTimeout: 10 * time.Minute},
		"RebalanceTimeout -1s":   Topic[int]{Name: "a", RebalanceTimeout: -time.Second},
		"FetchMaxBytes -1":       Topic[int]{Name: "a", FetchMaxBytes: -1},
		"FetchMinBytes 2097152":  Topic[int]{Name: "a", FetchMinBytes: 2 << 20, FetchMaxBytes: 1 << 20},
		"{service}.{group}":      Topic[int]{Name: "a", Group: "a", ServiceNames: true},
		`Compression "rar"`:      Topic[int]{Name: "a", Compression: "rar"},
		"MaxMessageBytes -1":     Topic[int]{Name: "a", MaxMessageBytes: -1},
		"TransactionTimeout -1s": Topic[int]{Name: "a", TransactionTimeout: -time.Second},
		"Names is empty":         Topics[int]{},
		`Names has "a" twice`:    Topics[int]{Names: []string{"a", "a"}},
		"Cluster.Brokers":        Topic[int]{Name: "a", Cluster: Cluster{Brokers: []string{"http://a"}}},
		"Cluster.SASL.Mechanism": Topic[int]{Name: "a", Cluster: Cluster{SASL: SASL{Mechanism: "MAGIC"}}},
		"Cluster.SASL.Token":     Topic[int]{Name: "a", Cluster: Cluster{SASL: SASL{Mechanism: AWSMSKIAM}}},
		"Cluster.CertFile":       Topic[int]{Name: "a", Cluster: Cluster{CertFile: "a"}},
		"Cluster.DialTimeout":    Topic[int]{Name: "a", Cluster: Cluster{DialTimeout: -1}},
	} {
		if err := topic.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want an error with %q", topic, err, want)
		}
	}
	for _, topic := range []interface{ Validate() error }{
		Topic[int]{Name: "a"}, Topics[int]{Names: []string{"a", "b"}}, Topic[int]{Name: "a.b-c_D9", Start: At(time.Now())},
		Topic[int]{Name: "a", Group: "svc.g", ServiceNames: true, Balance: []Balance{CooperativeSticky, Range}},
	} {
		if err := topic.Validate(); err != nil {
			t.Errorf("%+v: %v", topic, err)
		}
	}
}

func TestTopics(t *testing.T) {
	c := fake(t)
	write(t, Topic[[]byte]{Name: "in", Cluster: at(c)}, numbered(0, 40)...)
	write(t, Topic[[]byte]{Name: "out", Cluster: at(c)}, numbered(40, 10)...)
	both := Topics[[]byte]{Names: []string{"out", "in"}, Group: "g", Cluster: at(c), Start: Earliest}
	if got := both.String(); got != "kafka:out,in" {
		t.Errorf("String is %q", got)
	}
	ctx := testContext(t)
	r, err := both.OpenSource(ctx, place(t, "p"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close(ctx)
	intake := primitivetest.NewIntake(100)
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- r.Run(running, intake) }()
	counts := map[string]int{}
	for n := 0; n < 50; {
		ds, err := intake.Take(ctx, 50)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range ds {
			counts[d.Lane.Partition.Topic]++
		}
		n += len(ds)
	}
	if counts["in"] != 40 || counts["out"] != 10 {
		t.Errorf("records by topic: %v", counts)
	}
	ps, err := r.(primitives.Partitioned).Partitions(ctx)
	if err != nil || len(ps) != 5 || !slices.IsSortedFunc(ps, func(a, b primitives.Partition) int { return strings.Compare(a.String(), b.String()) }) {
		t.Errorf("Partitions: %v, %v", ps, err)
	}
	stop()
	if err := errors.Join(<-ended); err != nil {
		t.Error(err)
	}
}
