package flowotel_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	"github.com/flowkit-go/flow"
	flowotel "github.com/flowkit-go/flow/otel"
	"github.com/flowkit-go/flow/primitives/cloudevents"
	"github.com/flowkit-go/flow/primitives/kafka"
	"github.com/flowkit-go/flow/primitives/registry"
)

// Over Kafka's protocol, with an envelope in headers and with a schema registry: a
// request, a topic of CloudEvents, a consumer, a topic in Avro, read by another
// client.
func TestOneTraceThroughKafka(t *testing.T) {
	fake, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, "orders"), kfake.SeedTopics(1, "bills"))
	if err != nil {
		t.Fatal(err)
	}
	defer fake.Close()
	schemas := srfake.New()
	defer schemas.Close()
	cluster := kafka.Cluster{Brokers: fake.ListenAddrs()}
	type bill struct {
		Order string `avro:"order"`
		Cents int64  `avro:"cents"`
	}
	type placed = cloudevents.Event[order]
	orders := kafka.Topic[placed]{
		Name: "orders", Group: "billing", Cluster: cluster, Start: kafka.Earliest,
		Key:   func(e placed) string { return e.Data.ID },
		Codec: &cloudevents.Codec[order]{Source: "/shop", Type: "placed"},
	}
	avro := &registry.Avro[bill]{Registry: registry.Server{URL: schemas.URL()}, Topic: "bills", Register: true}
	bills := kafka.Topic[bill]{Name: "bills", Cluster: cluster, Codec: avro}

	spans, provider := tracer(t)
	app := flow.New("shop", quiet(), flowotel.Tracing(flowotel.TracerProvider(provider)))
	flow.Collector(app, "POST /orders", orders, func(_ context.Context, o order) (placed, error) {
		return placed{ID: o.ID, Data: o}, nil
	})
	flow.Consumer(app, "bill", orders, bills, func(_ context.Context, e placed) (bill, error) {
		if e.Source != "/shop" || e.Type != "placed" || e.ID != e.Data.ID {
			return bill{}, errors.New("the event's attributes are lost")
		}
		return bill{e.Data.ID, e.Data.Cents}, nil
	}, flow.Setup(func(ctx context.Context) (context.Context, error) { return ctx, avro.StartCodec(ctx) }))
	h, stop := running(t, app)
	res := request(h, http.MethodPost, "/orders", `{"id":"o-1","cents":250}`, "traceparent", clientParent)
	if res.StatusCode != http.StatusOK {
		t.Fatalf("status %d", res.StatusCode)
	}

	client, err := kgo.NewClient(kgo.SeedBrokers(fake.ListenAddrs()...), kgo.ConsumeTopics("orders", "bills"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	got := map[string]*kgo.Record{}
	for len(got) < 2 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		for _, r := range fetches.Records() {
			got[r.Topic] = r
		}
	}
	stop()

	server, process := only(t, spans, "POST /orders"), only(t, spans, "bill process")
	if process.Parent().SpanID() != server.SpanContext().SpanID() || server.Parent().SpanID().String() != clientSpan {
		t.Errorf("parents %v and %v", process.Parent().SpanID(), server.Parent().SpanID())
	}
	want := map[string]string{
		"ce_specversion": "1.0", "ce_id": "o-1", "ce_source": "/shop", "ce_type": "placed", "content-type": "application/json",
		"traceparent": parent(server.SpanContext()),
	}
	if diff := cmp.Diff(want, kafkaHeaders(got["orders"])); diff != "" {
		t.Errorf("headers of orders (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"traceparent": parent(process.SpanContext())}, kafkaHeaders(got["bills"])); diff != "" {
		t.Errorf("headers of bills (-want +got):\n%s", diff)
	}
	if v, err := avro.Decode(got["bills"].Value); err != nil || v != (bill{"o-1", 250}) {
		t.Errorf("bills has %+v, %v", v, err)
	}
	if a := attributes(process); a["messaging.system"] != "kafka" || a["messaging.destination.name"] != "orders" || a["messaging.kafka.offset"] != "0" {
		t.Errorf("attributes %v", a)
	}
}

func kafkaHeaders(r *kgo.Record) map[string]string {
	m := map[string]string{}
	for _, h := range r.Headers {
		m[h.Key] = string(h.Value)
	}
	return m
}
