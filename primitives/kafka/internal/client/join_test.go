package client

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/kafka/driver"
)

// losing counts what is taken away from it.
type losing struct {
	patient
	lost int
}

func (g *losing) Lost(ps []primitives.Partition, _ error) { g.lost += len(ps) }

// A coordinator that answers that the next rebalance has begun knows the member, however
// often it says so and however long it took: the member keeps its partitions. One that does
// not answer for longer than the session lasts has forgotten it.
func TestOvertakenJoins(t *testing.T) {
	for _, test := range []struct {
		err  error
		lost int
	}{
		{sarama.ErrRebalanceInProgress, 0},
		{errSilent, 1},
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
	}
}
