package client

import (
	"context"

	"github.com/flowkit-go/flow/primitives/kafka/driver"
)

// Driver opens clients that are built on sarama.
type Driver struct{}

var _ driver.Driver = Driver{}

// Name implements driver.Driver.
func (Driver) Name() string { return "sarama" }

// OpenAdmin implements driver.Driver.
func (Driver) OpenAdmin(ctx context.Context, c driver.Cluster) (driver.AdminClient, error) {
	return Open(ctx, c)
}

// OpenConsumer implements driver.Driver.
func (Driver) OpenConsumer(ctx context.Context, c driver.Cluster, with driver.Consuming) (driver.Consumer, error) {
	return OpenConsumer(ctx, c, with)
}
