package kedatest

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/kedacore/keda/v2/pkg/scalers/externalscaler"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/primitives/kafka"
)

// childVar, in the environment, makes this program the flow's own.
const childVar = "KEDATEST_FLOW"

func TestMain(m *testing.M) {
	if os.Getenv(childVar) != "" {
		app, _ := shop(nil)
		flow.Main(app)
	}
	// The metrics library of sarama has one goroutine for the process.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick"))
}

const (
	patience  = time.Minute
	frequency = 8 * time.Second // between two decisions: long beside the pauses of a busy machine
	idle      = 2 * time.Second
)

// order is what the flow reads.
type order struct{ Number int }

var orders = kafka.Topic[order]{Name: "orders", Group: "shop.bill", Start: kafka.Earliest, Key: func(o order) string { return fmt.Sprint(o.Number) }}

// shop is the flow. Its handler keeps to a pace over all records, or is as fast as it
// can be where that is nil or 0.
func shop(pace *atomic.Int64) (app *flow.Flow, admin <-chan string) {
	ready := make(chan string, 1)
	app = flow.New("shop", flow.AdminAddr("127.0.0.1:0"), flow.HTTPAddr("127.0.0.1:0"),
		flow.OnReady(func(a flow.Addresses) { ready <- a.Admin }))
	var n atomic.Int64
	began := sync.OnceValue(time.Now) // by the first record
	flow.Consumer(app, "bill", orders, flow.Discard, func(ctx context.Context, o order) (struct{}, error) {
		for pace != nil {
			each := time.Duration(pace.Load())
			if each == 0 {
				break
			}
			wait := time.Until(began().Add(time.Duration(n.Add(1)) * each))
			if wait <= 0 {
				break
			}
			select {
			case <-time.After(wait):
			case <-ctx.Done():
			}
			break
		}
		return struct{}{}, nil
	}, flow.Replicas(1, 1), flow.CommitEvery(50*time.Millisecond, 0))
	flow.Endpoint(app, "GET /orders/{id}", func(context.Context, struct {
		ID string `path:"id"`
	}) (order, error) {
		return order{}, nil
	})
	return app, ready
}

// scaler starts the flow's command scaler as a process of its own, and returns KEDA's
// client of it.
func scaler(t *testing.T, args ...string) externalscaler.ExternalScalerClient {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, append([]string{"scaler", "--listen", "127.0.0.1:0", "--poll", "100ms", "--idle", idle.String()}, args...)...)
	cmd.Env = append(os.Environ(), childVar+"=1", fmt.Sprintf("FLOW_BILL_AUTOSCALE_FREQUENCY_SECS=%v", frequency.Seconds()))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("the scaler ended with %v", err)
		}
	})
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if fields := strings.Fields(lines.Text()); len(fields) > 1 && fields[0] == "scaler" {
			return dial(t, fields[1])
		}
	}
	t.Fatalf("the scaler did not say where it listens: %v", lines.Err())
	return nil
}

func dial(t *testing.T, address string) externalscaler.ExternalScalerClient {
	t.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
	return externalscaler.NewExternalScalerClient(conn)
}

// ref is a ScaledObject of the processor.
func ref(processor string) *externalscaler.ScaledObjectRef {
	return &externalscaler.ScaledObjectRef{
		Name: "shop", Namespace: "default",
		ScalerMetadata: map[string]string{"scalerAddress": "shop-scaler.default.svc:9660", "processor": processor},
	}
}

// until asks every now and then until it is answered, or fails the test.
func until(t *testing.T, what string, answered func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !answered() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}
