package driver

import (
	"context"
	"errors"
)

// A Driver opens clients. Opening returns an error when no broker answers in
// Cluster.OpenTimeout, or ctx ends before.
type Driver interface {
	// Name of the client library.
	Name() string

	// OpenConsumer connects, but does not join the group.
	OpenConsumer(ctx context.Context, c Cluster, with Consuming) (Consumer, error)

	// OpenProducer connects a writer to a topic that exists.
	OpenProducer(ctx context.Context, c Cluster, with Producing) (Producer, error)

	// OpenAdmin connects for questions only.
	OpenAdmin(ctx context.Context, c Cluster) (AdminClient, error)
}

// An AdminClient is an Admin with a connection of its own.
type AdminClient interface {
	Admin
	Close(ctx context.Context) error
}

var (
	// ErrUnknownTopic says that a topic does not exist.
	ErrUnknownTopic = errors.New("topic does not exist")

	// ErrUnstable says that a transaction is open that may change what a group has
	// committed.
	ErrUnstable = errors.New("offsets in an open transaction")

	// ErrRefused says that the brokers do not allow something: trying again does not help
	// before someone changes that, or the settings.
	ErrRefused = errors.New("refused by the brokers")

	// ErrRebalancing says that the group is between two generations, or in one that the
	// member is about to learn of. It passes, and the partitions may stay with the member.
	ErrRebalancing = errors.New("the group is rebalancing")

	// ErrUnreachable says that no broker has answered.
	ErrUnreachable = errors.New("no broker answers")
)
