package main

import (
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func startLocal(t *testing.T, dir string) *localKafka {
	t.Helper()
	k, err := startKafka(dir, func(text string) { t.Error(text) })
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func localClient(t *testing.T, k *localKafka, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append(opts, kgo.SeedBrokers(k.addr))...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// fill writes records of half a megabyte, in all half as much again as is kept.
func fill(t *testing.T, c *kgo.Client, partitions ...int32) (n int) {
	t.Helper()
	value := make([]byte, 500_000)
	_, _ = rand.NewChaCha8([32]byte{}).Read(value) // nothing to compress; it never fails
	n = int(1.5 * kafkaKeepBytes / float64(len(value)))
	for range n {
		for _, p := range partitions {
			c.Produce(t.Context(), &kgo.Record{Value: value, Partition: p}, func(_ *kgo.Record, err error) {
				if err != nil {
					t.Error(err)
				}
			})
		}
	}
	if err := c.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	return n
}

// Records, progress and the address outlive the broker. The log stays within its
// bounds, so that a start is quick, and nothing goes that is still to be read.
func TestLocalKafkaKeepsAndBounds(t *testing.T) {
	dir := t.TempDir()
	k := startLocal(t, dir)
	if err := k.create([]string{"a", "b"}); err != nil {
		t.Fatal(err)
	}
	if err := k.create([]string{"a"}); err != nil {
		t.Errorf("a topic that is there already: %v", err)
	}
	if !strings.HasPrefix(k.addr, "127.0.0.1:") {
		t.Errorf("it listens on %s", k.addr)
	}
	c := localClient(t, k, kgo.DefaultProduceTopic("a"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	n := fill(t, c, 0, 1)
	old := &kgo.Record{Value: []byte("old"), Partition: 2, Timestamp: time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC)}
	if err := c.ProduceSync(t.Context(), old).FirstErr(); err != nil {
		t.Fatal(err)
	}
	for group, next := range map[string]int64{"fast": int64(n), "slow": 3} { // of partition 1
		offsets := kadm.Offsets{}
		offsets.AddOffset("a", 1, next, -1)
		if err := kadm.NewClient(c).CommitAllOffsets(t.Context(), group, offsets); err != nil {
			t.Fatal(err)
		}
	}
	c.Close()
	addr := k.addr
	k.close()

	began := time.Now()
	k = startLocal(t, dir)
	defer k.close()
	t.Logf("started in %v with %d MiB", time.Since(began), n)
	if k.addr != addr {
		t.Errorf("it listens on %s, and on %s before", k.addr, addr)
	}
	infos := k.cluster.PartitionInfos("a")
	if p := infos[0]; p.HighWatermark != int64(n) || p.NumBytes > kafkaKeepBytes || p.NumBytes < kafkaKeepBytes*9/10 {
		t.Errorf("offsets %d to %d are kept, %d MiB, want close to %d MiB", p.LogStartOffset, p.HighWatermark, p.NumBytes>>20, kafkaKeepBytes>>20)
	}
	if p := infos[1]; p.LogStartOffset != 3 {
		t.Errorf("what a group has still to read begins at 3, and the log at %d", p.LogStartOffset)
	}
	if p := infos[2]; p.LogStartOffset != 0 || p.HighWatermark != 1 {
		t.Errorf("a record with an old time: the log is %d to %d", p.LogStartOffset, p.HighWatermark)
	}
	adm := kadm.NewClient(localClient(t, k))
	defer adm.Close()
	committed, err := adm.FetchOffsets(t.Context(), "slow")
	if err != nil || committed["a"][1].At != 3 {
		t.Errorf("committed %v, %v, want 3", committed, err)
	}
}

// A port that is taken meanwhile is no reason not to start.
func TestLocalKafkaTakesAnotherPort(t *testing.T) {
	dir := t.TempDir()
	k := startLocal(t, dir)
	addr := k.addr
	k.close()
	taker, err := newKafka(t.TempDir(), addr, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	defer taker.Close()
	k = startLocal(t, dir)
	defer k.close()
	if k.addr == addr || taker.ListenAddrs()[0] != addr {
		t.Errorf("addresses %s and %s, want another than %s", k.addr, taker.ListenAddrs()[0], addr)
	}
}

// One process has the folder; others learn the address of its broker.
func TestLocalKafkaIsOne(t *testing.T) {
	dir := t.TempDir()
	first := &standIn{dir: dir, complain: func(text string) { t.Error(text) }}
	defer first.close()
	if err := first.provide([]string{"a"}); err != nil {
		t.Fatal(err)
	}
	shares := &standIn{dir: dir, share: true, complain: func(text string) { t.Error(text) }}
	defer shares.close()
	if err := shares.provide([]string{"a"}); err != nil || shares.addr != first.addr || shares.kafka != nil {
		t.Errorf("address %q, %v, want %s", shares.addr, err, first.addr)
	}
	alone := &standIn{dir: dir, complain: func(text string) { t.Error(text) }}
	if err := alone.provide([]string{"a"}); err == nil || !strings.Contains(err.Error(), "KAFKA_BROKERS="+first.addr) {
		t.Errorf("error %v", err)
	}
}

// The stand-in is in this command and in tests, never in a user's program.
func TestStandInStaysOutOfPrograms(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "list", "-deps", modulePath, modulePath+"/examples/quakes", modulePath+"/examples/wordcount",
		modulePath+"/cmd/flow/testdata/kafka", modulePath+"/flowtest").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, vendor := range []string{"franz-go", "kfake"} {
		if strings.Contains(string(out), vendor) {
			t.Errorf("programs contain %s", vendor)
		}
	}
	if !strings.Contains(string(out), modulePath+"/primitives/kafka\n") {
		t.Error("the program of the test does not use Kafka")
	}
}

// The command knows the flags of the program's own commands.
func TestRecordCommandsHaveTheFlagsOfPrograms(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	program := dir + "/program"
	if out, err := exec.Command("go", "build", "-o", program, modulePath+"/cmd/flow/testdata/kafka").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	flags := func(help string) (names []string) {
		for line := range strings.Lines(help) {
			for word := range strings.FieldsSeq(line) {
				if name, ok := strings.CutPrefix(word, "--"); ok && strings.HasPrefix(strings.TrimSpace(line), "-") {
					names = append(names, strings.Trim(name, ",;"))
					break
				}
			}
		}
		return names
	}
	for _, verb := range []string{"tail", "send", "replay", "dlq list", "dlq show", "dlq retry", "dlq drop"} {
		args := append(strings.Fields(verb), "--help")
		own, err := exec.Command(program, args...).Output()
		if err != nil {
			t.Fatal(err)
		}
		ours, _, _ := inProcess(args...)
		want, got := flags(string(own)), flags(ours)
		if len(want) == 0 {
			t.Errorf("%s: no flags in %s", verb, own)
		}
		if w, g := fmt.Sprint(append(want, "data", "env-file")), fmt.Sprint(got); !sameWords(w, g) {
			t.Errorf("%s: flags %s, want %s", verb, g, w)
		}
	}
}

func sameWords(a, b string) bool {
	count := map[string]int{}
	for w := range strings.FieldsSeq(strings.Trim(a, "[]")) {
		count[w]++
	}
	for w := range strings.FieldsSeq(strings.Trim(b, "[]")) {
		count[w]--
	}
	for _, n := range count {
		if n != 0 {
			return false
		}
	}
	return true
}
