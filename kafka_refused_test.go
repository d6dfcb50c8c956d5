package flow_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/primitives/kafka"
)

// ends waits for the flow to stop with an error that says all of want, and checks that
// nothing was tried again before.
func (k *kafkaRig) ends(f *running, want ...string) {
	k.t.Helper()
	select {
	case err := <-f.ended:
		if err == nil {
			k.t.Fatal("the flow ended well")
		}
		for _, text := range want {
			if !strings.Contains(err.Error(), text) {
				k.t.Errorf("the flow ended with %v, want %q in it", err, text)
			}
		}
		if n := strings.Count(err.Error(), want[0]); n != 1 {
			k.t.Errorf("the reason is told %d times: %v", n, err)
		}
	case <-time.After(10 * time.Second):
		f.hard()
		f.cancel()
		k.t.Errorf("the flow goes on")
	}
	for _, l := range k.logs.lines.all() {
		if strings.Contains(l.Text, "again") || strings.Contains(l.Text, "anew") {
			k.t.Errorf("tried again: %s %v", l.Text, l.Attrs)
		}
	}
}

// What the brokers do not allow stops the flow, with what to do about it.
func TestKafkaExactlyOnceRefused(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		key  kmsg.Key
		err  *kerr.Error
		want []string
	}{
		{"transactional id", kmsg.InitProducerID, kerr.TransactionalIDAuthorizationFailed, []string{"transactional ids that begin with the name of its Group", "g/"}},
		{"its coordinator", kmsg.FindCoordinator, kerr.TransactionalIDAuthorizationFailed, []string{"transactional ids that begin with the name of its Group", "g/"}},
		{"cluster", kmsg.InitProducerID, kerr.ClusterAuthorizationFailed, []string{"idempotent writes", "g/"}},
		{"version", kmsg.InitProducerID, kerr.UnsupportedVersion, []string{"Kafka 2.5"}},
		{"timeout", kmsg.InitProducerID, kerr.InvalidTransactionTimeout, []string{"TransactionTimeout of topic", "out is 1m0s", "transaction.max.timeout.ms"}},
		{"group", kmsg.OffsetFetch, kerr.GroupAuthorizationFailed, []string{"allow this client to read its Group", "in/"}},
		{"source", kmsg.OffsetFetch, kerr.TopicAuthorizationFailed, []string{"allow this client to read the topics of its source", "in/"}},
		{"output", kmsg.AddPartitionsToTxn, kerr.TopicAuthorizationFailed, []string{"to write those of its outputs", "g/"}},
		{"id in a transaction", kmsg.AddPartitionsToTxn, kerr.TransactionalIDAuthorizationFailed, []string{"transactional ids that begin with the name of its Group", "g/"}},
		{"group in a transaction", kmsg.AddOffsetsToTxn, kerr.GroupAuthorizationFailed, []string{"allow this client to read its Group", "g/"}},
		{"group in a commit", kmsg.TxnOffsetCommit, kerr.GroupAuthorizationFailed, []string{"allow this client to read its Group", "in/"}},
		{"end", kmsg.EndTxn, kerr.TransactionalIDAuthorizationFailed, []string{"transactional ids that begin with the name of its Group", "in/"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			onFake(t, func(t *testing.T, k *kafkaRig) {
				k.create(3, "in")
				k.create(1, "out")
				for p := range int32(3) {
					k.fill(p, 0, 3)
				}
				var claimed atomic.Bool
				k.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.InitProducerID}, Count: -1, Observe: true, When: func(req kmsg.Request) bool {
					claimed.Store(claimed.Load() || req.(*kmsg.InitProducerIDRequest).TransactionalID != nil)
					return true
				}})
				fault := k.fake.Fault(kfake.Fault{Keys: []kmsg.Key{tc.key}, Err: tc.err, Count: -1, When: func(req kmsg.Request) bool {
					switch r := req.(type) {
					case *kmsg.InitProducerIDRequest:
						return r.TransactionalID != nil
					case *kmsg.FindCoordinatorRequest:
						return r.CoordinatorType == 1
					case *kmsg.OffsetFetchRequest:
						return claimed.Load() // and not when it joins
					}
					return true
				}})
				f := k.start(k.once(unchanged, flow.CommitEvery(10*time.Millisecond, 0)))
				k.ends(f, tc.want...)
				if fault.Hits() == 0 {
					t.Error("nothing was refused")
				}
				fault.Remove()
				equal(t, "committed", []int64{k.committed(0), k.committed(1), k.committed(2)}, []int64{-1, -1, -1})
			})
		})
	}
}

// What passes is tried again: by the writer, or where that does not know it, by the flow.
func TestKafkaExactlyOnceRefusedForAWhile(t *testing.T) {
	for _, err := range []*kerr.Error{kerr.CoordinatorNotAvailable, kerr.ConcurrentTransactions, kerr.NotCoordinator, kerr.PolicyViolation} {
		t.Run(err.Message, func(t *testing.T) {
			onFake(t, func(t *testing.T, k *kafkaRig) {
				k.create(1, "in", "out")
				k.fill(0, 0, 3)
				fault := k.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.InitProducerID}, Err: err, Count: 3, When: func(req kmsg.Request) bool {
					return req.(*kmsg.InitProducerIDRequest).TransactionalID != nil
				}})
				f := k.launch(1, k.once(unchanged, flow.CommitEvery(10*time.Millisecond, 0)))
				k.settled(3)
				f.stopped()
				equal(t, "refused", fault.Hits(), 3)
				k.seen(numbers(0, 3))
			})
		})
	}
}

// A transaction timeout that is longer than the brokers allow names the field.
func TestKafkaTransactionTimeoutTooLong(t *testing.T) {
	onKafka(t, func(t *testing.T, k *kafkaRig) {
		k.create(1, "in", "out")
		out := kafka.Topic[int]{Name: k.name("out"), Cluster: k.cluster, TransactionTimeout: time.Hour}
		f := k.start(flow.NewConsumer("p", k.in(), out, unchanged, flow.ExactlyOnce()))
		k.ends(f, "TransactionTimeout of topic "+k.name("out")+" is 1h0m0s", "transaction.max.timeout.ms")
	})
}
