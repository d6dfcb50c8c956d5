package client

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/kafka/driver"
)

// losing counts what is taken away from it.
type losing struct {
	patient
	lost, retries int
}

func (g *losing) Lost(ps []primitives.Partition, _ error) { g.lost += len(ps) }

func (g *losing) Retry(ctx context.Context, reason error) error {
	g.retries++
	return g.patient.Retry(ctx, reason)
}

// A coordinator that answers that the next rebalance has begun knows the member, however
// often it says so and however long it took: the member keeps its partitions. One that does
// not answer for longer than the session lasts has forgotten it.
func TestOvertakenJoins(t *testing.T) {
	for _, test := range []struct {
		err           error
		lost, retries int // retries are pauses for a broker to come back
	}{
		{sarama.ErrRebalanceInProgress, 0, 0},
		{errSilent, 1, 2 * quickJoins},
	} {
		m := &member{
			with:    driver.Consuming{Group: "g", SessionTimeout: 10 * time.Second, Logger: slog.New(slog.DiscardHandler)},
			owned:   map[primitives.Partition]bool{{Topic: "t"}: true},
			contact: time.Now(),
		}
		var g losing
		for range 2 * quickJoins {
			m.contact = m.contact.Add(-11 * time.Second) // that long it has waited
			if err := m.afterFailedJoin(context.Background(), &g, fmt.Errorf("sync: %w", test.err)); err != nil {
				t.Fatal(err)
			}
		}
		if g.lost != test.lost {
			t.Errorf("%v: %d partitions are lost, want %d", test.err, g.lost, test.lost)
		}
		if g.retries != test.retries {
			t.Errorf("%v: %d pauses for a broker to come back, want %d", test.err, g.retries, test.retries)
		}
	}
}

// The leader shares out what it knows when metadata does not come: the others wait for it.
func TestLeaderWithoutMetadata(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(3, "t"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	cluster := driver.Cluster{Brokers: c.ListenAddrs(), ClientID: "test", DialTimeout: 5 * time.Second, RequestTimeout: 20 * time.Second, OpenTimeout: 10 * time.Second}
	client, err := Open(t.Context(), cluster, "t")
	if err != nil {
		t.Fatal(err)
	}
	silent, answer := make(chan struct{}), make(chan struct{})
	c.ControlKey(int16(kmsg.Metadata), func(kmsg.Request) (kmsg.Response, error, bool) {
		close(silent)
		c.SleepControl(func() { <-answer })
		return nil, nil, false
	})
	m := &member{client: client, with: driver.Consuming{Group: "g", Logger: slog.New(slog.DiscardHandler)}}
	parts, err := m.partitionsOf(t.Context(), []string{"t"})
	<-silent
	close(answer)
	if err != nil || len(parts["t"]) != 3 {
		t.Errorf("partitions %v, error %v, want three", parts, err)
	}
	if err := client.Close(context.Background()); err != nil {
		t.Error(err)
	}
}
