package flow_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/nats"
)

const (
	killedVar     = "FLOW_TEST_KILLED" // the folder of the queue: the binary is the flow of case 125
	killedRecords = 1000
	killedTasks   = 50
)

// runKilled handles the records of a durable queue, 50 at a time. It prints the
// number of each record when its handler starts (+) and when it ends (-). The
// first run fills the queue. A run ends when nothing came for some time.
func runKilled(dir string) error {
	log := slog.New(slog.DiscardHandler)
	queue := nats.Stream[int]{Name: "killed", Dir: dir, AckWait: time.Second}
	if os.Getenv(killedVar+"_FILL") != "" {
		env := &primitives.Env{Flow: "test", Processor: "fill", Logger: log, DataDir: dir, Shared: &primitives.Shared{}}
		w, err := queue.OpenSink(context.Background(), env)
		if err != nil {
			return err
		}
		recs := make([]primitives.Record, killedRecords)
		for i := range recs {
			recs[i].Value = []byte(strconv.Itoa(i))
		}
		written := make(chan error, 1)
		w.Write(context.Background(), recs, func(err error) { written <- err })
		if err := errors.Join(<-written, w.Close(context.Background())); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	quiet := time.AfterFunc(10*time.Second, cancel)
	app := flow.New("test", flow.AdminAddr("off"), flow.Logger(log))
	flow.Consumer(app, "p", queue, flow.Discard, flow.Do(func(_ context.Context, v int) error {
		quiet.Reset(3 * time.Second)
		fmt.Fprintf(os.Stdout, "+%d\n", v) // one write each, so that a kill loses no line
		<-time.After(rand.N(20 * time.Millisecond))
		fmt.Fprintf(os.Stdout, "-%d\n", v)
		return nil
	}), flow.Ordered(flow.Unordered), flow.ConcurrentTasks(killedTasks), flow.CommitEvery(10*time.Millisecond, 0))
	return app.Run(ctx)
}

// killed is what one run of the child has said.
type killed struct {
	started, ended map[int]bool
}

// runChild runs the child and kills it when it has ended the handling of n
// records; 0 lets it end.
func runChild(t *testing.T, dir string, n int, env ...string) killed {
	t.Helper()
	k := killed{started: map[int]bool{}, ended: map[int]bool{}}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), killedVar+"="+dir), env...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	dead := false
	lines := bufio.NewReader(out)
	for {
		text, err := lines.ReadString('\n')
		if err == io.EOF {
			break
		}
		v, bad := strconv.Atoi(text[1 : len(text)-1])
		if err != nil || bad != nil {
			t.Fatalf("the child has said %q: %v", text, errors.Join(err, bad))
		}
		if text[0] == '+' {
			k.started[v] = true
			continue
		}
		k.ended[v] = true
		if n > 0 && len(k.ended) == n && !dead {
			dead = true
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := cmd.Wait(); (err != nil) != dead {
		t.Fatalf("the child has ended with %v, killed: %t", err, dead)
	}
	return k
}

// What was committed must have been handled: a record whose handling has not
// ended in a killed process comes again, whatever was acknowledged around it.
func TestDelivery_125_kill_9(t *testing.T) {
	dir := t.TempDir()
	first := runChild(t, dir, 300, killedVar+"_FILL=1")
	second := runChild(t, dir, 200)
	last := runChild(t, dir, 0)

	inFlight, again := 0, 0
	for v := range first.started {
		if !first.ended[v] {
			inFlight++
		}
	}
	for v := range killedRecords {
		if !first.ended[v] && !second.ended[v] && !last.ended[v] {
			t.Errorf("%d was not handled by any run", v)
		}
		if first.ended[v] && (second.ended[v] || last.ended[v]) {
			again++
		}
	}
	t.Logf("first: %d handled, %d in flight when killed, %d of them again; second: %d handled; last: %d handled",
		len(first.ended), inFlight, again, len(second.ended), len(last.ended))
	if inFlight < killedTasks/2 {
		t.Errorf("only %d records were in flight when the process was killed", inFlight)
	}
	if again >= len(first.ended) {
		t.Error("everything was handled again: nothing had been committed")
	}
}
