package kedatest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/kedacore/keda/v2/pkg/scalers/externalscaler"

	"github.com/flowkit-go/flow/flowtest/kafkatest"
)

// want asks for the metric as KEDA does: the name first, and then its value.
func want(t *testing.T, c externalscaler.ExternalScalerClient, processor string) (int64, error) {
	t.Helper()
	ctx := within(t, patience)
	spec, err := c.GetMetricSpec(ctx, ref(processor))
	if err != nil {
		t.Fatal(err)
	}
	if len(spec.MetricSpecs) != 1 || spec.MetricSpecs[0].TargetSizeFloat != 1 || spec.MetricSpecs[0].TargetSize != 1 {
		t.Fatalf("spec %v, want one metric with target 1", spec)
	}
	name := spec.MetricSpecs[0].MetricName
	got, err := c.GetMetrics(ctx, &externalscaler.GetMetricsRequest{ScaledObjectRef: ref(processor), MetricName: name})
	if err != nil {
		return 0, err
	}
	if len(got.MetricValues) != 1 || got.MetricValues[0].MetricName != name {
		t.Fatalf("metrics %v, want one of %s", got, name)
	}
	v := got.MetricValues[0]
	if v.MetricValueFloat != float64(v.MetricValue) {
		t.Errorf("values %v and %v differ", v.MetricValue, v.MetricValueFloat)
	}
	return v.MetricValue, nil
}

func contains(err error, text string) bool {
	return err != nil && strings.Contains(err.Error(), text)
}

func active(t *testing.T, c externalscaler.ExternalScalerClient) bool {
	t.Helper()
	a, err := c.IsActive(within(t, patience), ref("bill"))
	if err != nil {
		t.Fatal(err)
	}
	return a.Result
}

// run runs the flow in this process until the test ends, and returns its admin address.
func run(t *testing.T, pace *atomic.Int64) string {
	t.Helper()
	app, ready := shop(pace)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- app.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the flow ended with %v", err)
		}
	})
	select {
	case addr := <-ready:
		return addr
	case err := <-ended:
		ended <- nil
		t.Fatalf("the flow ended with %v", err)
		return ""
	}
}

var measured = regexp.MustCompile(`"cpu_percent": \d`)

// stateOf is the state of a process, as people see it.
func stateOf(t *testing.T, admin string) string {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true}
	resp, err := (&http.Client{Transport: transport}).Get("http://" + admin + "/state")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// Two scalers, each a process of its own, come to the same number for a backlog that
// one process would work on for 10 minutes: 10 processes for 60 s. When it is worked
// off, and nothing has come for the idle time, the flow is not active.
func TestBacklogOnABroker(t *testing.T) {
	broker := kafkatest.Start(t)
	broker.Create("orders", 16)
	const perSecond = 100
	all := make([]order, 570*perSecond) // 9.5 minutes, so that 1 % more or less is no other number
	for i := range all {
		all[i].Number = i
	}
	kafkatest.Send(broker, orders, all...)
	var pace atomic.Int64
	pace.Store(int64(time.Second / perSecond))
	admin := run(t, &pace)
	scalers := []externalscaler.ExternalScalerClient{scaler(t), scaler(t, "--peers", admin)}

	for i, c := range scalers {
		n := int64(0)
		until(t, "a decision", func() bool {
			var err error
			n, err = want(t, c, "bill")
			if err != nil && status.Code(err) != codes.Unavailable {
				t.Fatalf("scaler %d: %v", i, err)
			}
			return n > 1
		})
		if n < 9 || n > 11 { // the machine may not have kept the pace
			t.Errorf("scaler %d: %d processes wanted, want 10", i, n)
		}
		if !active(t, c) {
			t.Errorf("scaler %d: not active with a backlog", i)
		}
	}
	for range 3 { // whoever is asked first
		a, err := want(t, scalers[0], "bill")
		b, errB := want(t, scalers[1], "bill")
		if a != b || err != nil || errB != nil {
			t.Errorf("the scalers want %d (%v) and %d (%v)", a, err, b, errB)
		}
	}

	pace.Store(0)
	began := time.Now()
	for i, c := range scalers {
		until(t, "not active", func() bool { return !active(t, c) })
		if took := time.Since(began); i == 0 && took < idle {
			t.Errorf("not active after %v, want the idle time, %v, at least", took, idle)
		}
	}
	// The scaler has the processes measure their CPU, though their pools do not scale.
	until(t, "CPU in the state", func() bool { return measured.MatchString(stateOf(t, admin)) })
	if n, err := want(t, scalers[0], "bill"); err != nil || n < 1 {
		t.Errorf("%d, %v: want 1 at least, as how many stay is KEDA's to say", n, err)
	}
}

func TestStreamIsActive(t *testing.T) {
	broker := kafkatest.Start(t)
	broker.Create("orders", 4)
	c := scaler(t)
	ctx, cancel := context.WithCancel(within(t, patience))
	defer cancel()
	stream, err := c.StreamIsActive(ctx, ref("bill"))
	if err != nil {
		t.Fatal(err)
	}
	told := func() bool {
		t.Helper()
		m, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		return m.Result
	}
	for told() { // until the broker has been asked
	}
	kafkatest.Send(broker, orders, order{1}, order{2})
	if !told() {
		t.Error("told again that it is not active")
	}
	cancel()
	if _, err := stream.Recv(); status.Code(err) != codes.Canceled {
		t.Errorf("after it was cancelled: %v", err)
	}

	short, done := context.WithTimeout(ctx, time.Millisecond)
	done()
	if _, err := c.IsActive(short, ref("bill")); err == nil {
		t.Error("an answer after the deadline")
	}
	late, err := c.StreamIsActive(within(t, 300*time.Millisecond), ref("bill"))
	if err != nil {
		t.Fatal(err)
	}
	if m, err := late.Recv(); err != nil || !m.Result {
		t.Errorf("%v, %v: want the present state at once", m, err)
	}
	if _, err := late.Recv(); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("after the deadline: %v", err)
	}
	if !active(t, c) {
		t.Error("the scaler does not answer after a stream was given up")
	}
}

func TestStreamMetricSpec(t *testing.T) {
	broker := kafkatest.Start(t)
	broker.Create("orders", 4)
	stream, err := scaler(t).StreamMetricSpec(within(t, time.Second), ref("bill"))
	if err != nil {
		t.Fatal(err)
	}
	spec, err := stream.Recv()
	if err != nil || len(spec.MetricSpecs) != 1 || spec.MetricSpecs[0].MetricName != "flow-bill" {
		t.Errorf("%v, %v", spec, err)
	}
	if m, err := stream.Recv(); status.Code(err) != codes.DeadlineExceeded || errors.Is(err, io.EOF) {
		t.Errorf("%v, %v: the stream is to stay open", m, err)
	}
}

func TestMistakesInTheMetadata(t *testing.T) {
	broker := kafkatest.Start(t)
	broker.Create("orders", 4)
	c := scaler(t)
	ctx := within(t, patience)
	wrong := ref("ship")
	const names = `use one of bill, GET /orders/{id}`
	check := func(method string, err error) {
		t.Helper()
		if status.Code(err) != codes.InvalidArgument || !contains(err, names) {
			t.Errorf("%s: %v, want InvalidArgument with the processors that there are", method, err)
		}
	}
	_, err := c.IsActive(ctx, wrong)
	check("IsActive", err)
	_, err = c.GetMetricSpec(ctx, wrong)
	check("GetMetricSpec", err)
	_, err = c.GetMetrics(ctx, &externalscaler.GetMetricsRequest{ScaledObjectRef: wrong, MetricName: "flow-ship"})
	check("GetMetrics", err)
	for method, open := range map[string]func() error{
		"StreamIsActive": func() error {
			s, err := c.StreamIsActive(ctx, wrong)
			if err == nil {
				_, err = s.Recv()
			}
			return err
		},
		"StreamMetricSpec": func() error {
			s, err := c.StreamMetricSpec(ctx, wrong)
			if err == nil {
				_, err = s.Recv()
			}
			return err
		},
	} {
		check(method, open())
	}
	// Its source is no broker, and nobody said where the processes are.
	until(t, "a state", func() bool {
		_, err = want(t, c, "GET /orders/{id}")
		return contains(err, "--peers")
	})
	if status.Code(err) != codes.Unavailable {
		t.Errorf("%v, want Unavailable", err)
	}
}

// KEDA does what its fallback says when there is an error, and would scale to nothing
// for a 0.
func TestBrokerThatIsAway(t *testing.T) {
	broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(4, "orders"))
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("KAFKA_BROKERS", strings.Join(broker.ListenAddrs(), ","))
	c := scaler(t)
	until(t, "a number", func() bool {
		n, err := want(t, c, "bill")
		return err == nil && n == 1
	})
	broker.Close()
	until(t, "unavailable", func() bool {
		_, err := want(t, c, "bill")
		return status.Code(err) == codes.Unavailable
	})
	if !active(t, c) {
		t.Error("not active although nothing is known")
	}
}
