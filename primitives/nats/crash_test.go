package nats

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/primitivetest"
)

// childVar makes the test binary a process that writes into the embedded queue
// in that folder until it is killed.
const childVar = "FLOW_NATS_TEST_CHILD"

var crashStream = Stream[[]byte]{Name: "crash", Durable: "crash"}

// runChild reads and acknowledges some records, and writes bursts of numbered
// ones. It prints the number of each confirmed record and, with a minus, of each
// acknowledged one, both as 8 bytes.
func runChild(dir string) error {
	ctx := context.Background()
	env := &primitives.Env{Flow: "crash", Processor: "child", Logger: slog.New(slog.DiscardHandler), DataDir: dir, Shared: &primitives.Shared{}}
	var start int64
	if _, err := fmt.Sscan(os.Getenv(childVar+"_FROM"), &start); err != nil {
		return err
	}
	report := make(chan []int64, 1024)
	go func() {
		out := bufio.NewWriter(os.Stdout)
		for numbers := range report {
			for _, n := range numbers {
				_ = binary.Write(out, binary.BigEndian, n)
			}
			if len(report) == 0 {
				_ = out.Flush()
			}
		}
	}()
	r, err := crashStream.OpenSource(ctx, env)
	if err != nil {
		return err
	}
	w, err := crashStream.OpenSink(ctx, env)
	if err != nil {
		return err
	}
	in := primitivetest.NewIntake(512)
	go func() { _ = r.Run(ctx, in) }()
	go func() {
		for {
			got, err := in.Take(ctx, 100)
			if err != nil {
				return
			}
			var leases []any
			var numbers []int64
			for _, d := range got {
				if n := int64(binary.BigEndian.Uint64(d.Record.Value)); n%2 == 0 { // the odd ones stay
					leases = append(leases, d.Record.Lease)
					numbers = append(numbers, -n)
				}
			}
			if len(leases) == 0 {
				continue
			}
			if err := r.Commit(ctx, []primitives.Commit{{Partition: primitives.Partition{Topic: "crash"}, Leases: leases}}); err == nil {
				report <- numbers
			}
		}
	}()
	for n := start; ; {
		size := 1 + rand.IntN(64)
		batch := make([]primitives.Record, size)
		numbers := make([]int64, size)
		for i := range batch {
			numbers[i] = n
			batch[i].Value = append(binary.BigEndian.AppendUint64(nil, uint64(n)), make([]byte, rand.IntN(400))...)
			n++
		}
		w.Write(ctx, batch, func(err error) {
			if err == nil {
				report <- numbers
			}
		})
	}
}

// TestKill9 kills a process that writes and acknowledges at random moments. All
// records that were confirmed and never acknowledged must be there afterwards,
// and none whose acknowledgement was confirmed.
func TestKill9(t *testing.T) {
	rounds := 10
	if testing.Short() {
		rounds = 3
	}
	dir := t.TempDir()
	confirmed, acked := map[int64]bool{}, map[int64]bool{}
	for round := range rounds {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childVar+"="+dir, fmt.Sprintf("%s_FROM=%d", childVar, (round+1)*10_000_000))
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		in := bufio.NewReader(out)
		read := 0
		var word [8]byte
		var kill *time.Timer
		for {
			if _, err := io.ReadFull(in, word[:]); err != nil {
				break
			}
			if read++; read == 1 { // it has started
				kill = time.AfterFunc(time.Duration(rand.Int64N(int64(150*time.Millisecond))), func() { _ = cmd.Process.Kill() })
			}
			if n := int64(binary.BigEndian.Uint64(word[:])); n < 0 {
				acked[-n] = true
			} else {
				confirmed[n] = true
			}
		}
		err = cmd.Wait()
		if kill == nil {
			t.Fatalf("the child has confirmed nothing: %v", err)
		}
		kill.Stop()
	}

	env := place(t, "check")
	env.DataDir = dir
	// Less than the ack wait: what the children had borrowed must come at once.
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	r := openTestReader(t, ctx, env, crashStream)
	in := primitivetest.NewIntake(4096)
	ended := make(chan error, 1)
	running, stop := context.WithCancel(ctx)
	go func() { ended <- r.Run(running, in) }()
	missing := map[int64]bool{}
	for n := range confirmed {
		if n%2 == 1 { // of the even ones some were acknowledged without a word
			missing[n] = true
		}
	}
	t.Logf("%d confirmed, %d acknowledged, %d to come", len(confirmed), len(acked), len(missing))
	if len(acked) == 0 || len(missing) == 0 {
		t.Fatal("the children have done too little to tell")
	}
	again := 0
	for len(missing) > 0 {
		got, err := in.Take(ctx, 4096)
		if err != nil {
			t.Fatalf("%d confirmed records are missing: %v", len(missing), err)
		}
		leases := make([]any, len(got))
		for i, d := range got {
			leases[i] = d.Record.Lease
			n := int64(binary.BigEndian.Uint64(d.Record.Value))
			if acked[n] {
				again++
			}
			delete(missing, n)
		}
		if err := r.Commit(ctx, []primitives.Commit{{Partition: primitives.Partition{Topic: "crash"}, Leases: leases}}); err != nil {
			t.Fatal(err)
		}
	}
	if again > 0 {
		t.Errorf("%d records came again after their acknowledgement was confirmed", again)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
