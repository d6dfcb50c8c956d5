package producer

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/flowkit-go/flow/primitives"
)

// The group refuses a generation: the offsets are added as who the member is then, for
// as long as it has one that it may be.
func TestTransactionGenerationEnds(t *testing.T) {
	in := primitives.Partition{Topic: "orders"}
	for _, tc := range []struct {
		name    string
		err     *kerr.Error
		refused int32 // generations up to this one
		leaves  int32 // the generation that the member is not in any longer
		asked   []int32
		want    error
		seen    int
	}{
		{"it stays", kerr.IllegalGeneration, 3, 10, []int32{1, 2, 3, 4}, nil, 1},
		{"the group is about to rebalance", kerr.RebalanceInProgress, 2, 10, []int32{1, 2, 3}, nil, 1},
		{"the partition goes", kerr.IllegalGeneration, 10, 3, []int32{1, 2}, primitives.ErrLost, 0},
		{"the member is not known", kerr.UnknownMemberID, 10, 10, []int32{1}, primitives.ErrLost, 0},
		{"another has its name", kerr.FencedInstanceID, 10, 10, []int32{1}, primitives.ErrLost, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ctx := testContext(t)
			c := fake(t, kfake.NumBrokers(1), kfake.SeedTopics(1, "orders"))
			c.ControlKey(int16(kmsg.TxnOffsetCommit), func(req kmsg.Request) (kmsg.Response, error, bool) {
				c.KeepControl()
				r := req.(*kmsg.TxnOffsetCommitRequest)
				if r.Generation > tc.refused {
					r.Generation, r.MemberID = -1, "" // kfake has no such group
					return nil, nil, false
				}
				topic := kmsg.NewTxnOffsetCommitResponseTopic()
				topic.Topic = r.Topics[0].Topic
				topic.Partitions = []kmsg.TxnOffsetCommitResponseTopicPartition{{ErrorCode: tc.err.Code}}
				res := r.ResponseKind().(*kmsg.TxnOffsetCommitResponse)
				res.Topics = append(res.Topics, topic)
				return res, nil, true
			})
			p := open(t, client(t, c.ListenAddrs()), Config{Topic: "orders"})
			x := claim(t, p, "one")
			tx := begin(t, x)
			if err := putIn(t, tx, p, record("a", 0)); err != nil {
				t.Fatal(err)
			}
			var asked []int32
			err := tx.Commit(ctx, func() (Member, error) {
				m := Member{Group: "g", ID: "m", Generation: int32(len(asked))}
				if m.Generation == tc.leaves {
					return m, fmt.Errorf("gone: %w", primitives.ErrLost)
				}
				asked = append(asked, m.Generation)
				return m, nil
			}, []Offset{{in, 1}})
			if !errors.Is(err, tc.want) {
				t.Errorf("Commit returned %v, want %v", err, tc.want)
			}
			if diff := cmp.Diff(tc.asked, asked[1:]); diff != "" { // the first is for the name of the group
				t.Errorf("generations (-want +got):\n%s", diff)
			}
			if got := len(readCommitted(t, c.ListenAddrs(), "orders")[0]); got != tc.seen {
				t.Errorf("%d records are seen, want %d", got, tc.seen)
			}
			// The claim is good for another one.
			tx = begin(t, x)
			if err := errors.Join(putIn(t, tx, p, record("a", 1)), tx.Commit(ctx, nil, nil)); err != nil {
				t.Error(err)
			}
		})
	}
}
