package kafka_test

import (
	"context"
	"fmt"
	"time"

	"github.com/flowkit-go/flow/primitives/kafka"
)

type Order struct{ ID, Customer string }

// A topic that is read from its beginning by a new group, and written with the customer
// as the key. The brokers come from KAFKA_BROKERS.
func ExampleTopic() {
	orders := kafka.Topic[Order]{
		Name: "orders", Group: "shop.billing", Start: kafka.Earliest,
		Key: func(o Order) string { return o.Customer },
	}
	fmt.Println(orders)
	// Output: kafka:orders
}

// Several topics with one member of one group.
func ExampleTopics() {
	changes := kafka.Topics[Order]{Names: []string{"orders", "returns"}, Group: "shop.audit"}
	fmt.Println(changes)
	// Output: kafka:orders,returns
}

// A cluster in a program that does not take it from the environment: TLS, and a login
// with tokens, as Amazon MSK with IAM wants it.
func ExampleCluster() {
	cluster := kafka.Cluster{
		Brokers: []string{"b-1.example.com:9098", "b-2.example.com:9098"},
		UseTLS:  true,
		SASL: kafka.SASL{
			Mechanism: kafka.AWSMSKIAM,
			Token:     func(ctx context.Context) (kafka.Token, error) { return kafka.Token{Value: "from the signer"}, nil },
		},
	}
	orders := kafka.Topic[Order]{Name: "orders", Cluster: cluster}
	fmt.Println(orders.Validate())
	// Output: <nil>
}

// What is in force, under the names of Kafka's own clients.
func ExampleTopic_ConsumerConfig() {
	config := kafka.Topic[Order]{Name: "orders", SessionTimeout: 45 * time.Second}.ConsumerConfig()
	fmt.Println(config["session.timeout.ms"], config["auto.offset.reset"])
	// Output: 45000 latest
}

// The topics that have to exist for flow.RetryLater.
func ExampleTopic_RetryTopics() {
	orders := kafka.Topic[Order]{Name: "orders", Group: "billing", RetryDelays: []time.Duration{30 * time.Second, time.Hour}}
	fmt.Println(orders.RetryTopics())
	// Output: [billing.retry-30s billing.retry-1h]
}
