package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
)

// kafkaSystem and kafkaVariable are what a program's graph calls its need of Kafka.
const (
	kafkaSystem   = "kafka"
	kafkaVariable = "KAFKA_BROKERS"
)

// Settings of the local broker.
const (
	kafkaPartitions = 3                // of a topic that is created
	kafkaSegment    = 4 << 20          // bytes of a file of the log: what is deleted at a time
	kafkaWait       = 10 * time.Second // for another process to have started it
)

// A localKafka is a Kafka broker inside of this process, for programs that run
// without one: kfake, with its state in a folder that outlives the process. It
// listens on 127.0.0.1 only.
type localKafka struct {
	cluster *kfake.Cluster
	addr    string
	lock    *os.File
	stop    context.CancelFunc
	sweeper sync.WaitGroup
}

// A kafkaBusyError says that another process has the folder.
type kafkaBusyError struct{ dir, addr string }

func (e *kafkaBusyError) Error() string {
	return fmt.Sprintf("the local Kafka in %s is in use by another process, which listens on %s: end that one, choose another folder with --data, or use its broker: %s=%s",
		e.dir, e.addr, kafkaVariable, e.addr)
}

// startKafka starts a broker with the state in dir, on the port that it had there
// before where that is free.
func startKafka(dir string, complain func(string)) (*localKafka, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("folder of the local Kafka: %w", err)
	}
	path := filepath.Join(dir, "address")
	lock, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("folder of the local Kafka: %w", err)
	}
	taken, err := lockFile(lock)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), lock.Close())
	}
	if taken {
		addr, err := awaitAddress(lock)
		if err == nil {
			err = &kafkaBusyError{dir, addr}
		}
		return nil, errors.Join(err, lock.Close())
	}
	k := &localKafka{lock: lock}
	last, _ := readAddress(lock)
	if err := lock.Truncate(0); err != nil { // until it listens
		return nil, errors.Join(fmt.Errorf("write %s: %w", path, err), lock.Close())
	}
	if k.cluster, err = newKafka(filepath.Join(dir, "log"), last, complain); err != nil {
		return nil, errors.Join(fmt.Errorf("start the local Kafka in %s: %w: delete the folder to begin without its topics", dir, err), lock.Close())
	}
	k.addr = k.cluster.ListenAddrs()[0]
	if _, err := lock.WriteAt([]byte(k.addr+"\n"), 0); err != nil {
		k.close()
		return nil, fmt.Errorf("write %s: %w", path, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	k.stop = cancel
	if err := k.sweep(ctx); err != nil {
		complain(err.Error()) // it works all the same
	}
	k.sweeper.Go(func() { k.sweepUntil(ctx, complain) })
	return k, nil
}

// newKafka starts the broker on the address that it had last, or on a free port.
func newKafka(dir, last string, complain func(string)) (*kfake.Cluster, error) {
	opts := []kfake.Opt{
		kfake.DataDir(dir), kfake.ClusterID("flow-local"), kfake.AllowAutoTopicCreation(),
		kfake.DefaultNumPartitions(kafkaPartitions), kfake.WithLogger(kafkaLog{complain}),
		// A developer stops and starts: the group of a process that was killed
		// should not take long to notice.
		kfake.GroupMinSessionTimeout(time.Second),
		kfake.BrokerConfigs(map[string]string{
			"log.segment.bytes": strconv.Itoa(kafkaSegment),
			// Events of a sample may be years old and are to stay all the same, and
			// so does the progress of a program that is not run for a month.
			"log.retention.ms": "-1", "offsets.retention.minutes": strconv.Itoa(10 * 365 * 24 * 60),
		}),
	}
	if _, port, err := net.SplitHostPort(last); err == nil {
		if n, err := strconv.Atoi(port); err == nil && n > 0 {
			c, err := kfake.NewCluster(append(slices.Clip(opts), kfake.Ports(n))...)
			if err == nil {
				return c, nil
			}
		}
	}
	return kfake.NewCluster(append(opts, kfake.NumBrokers(1))...)
}

func readAddress(f *os.File) (string, error) {
	content := make([]byte, 100)
	n, err := f.ReadAt(content, 0)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return strings.TrimSpace(string(content[:n])), err
}

// awaitAddress reads the address of a broker that another process is starting.
func awaitAddress(f *os.File) (string, error) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(kafkaWait); ; {
		addr, err := readAddress(f)
		if err != nil || addr != "" {
			return addr, err
		}
		select {
		case <-tick.C:
		case <-late:
			return "", fmt.Errorf("%s is locked by another process, which has not started its broker in %v", f.Name(), kafkaWait)
		}
	}
}

// create makes the topics that there are not yet.
func (k *localKafka) create(topics []string) error {
	for _, t := range topics {
		err := k.cluster.CreateTopic(t, kafkaPartitions, nil)
		if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
			return fmt.Errorf("create topic %s in the local Kafka: %w", t, err)
		}
	}
	return nil
}

// close writes what is not written yet and gives up the folder.
func (k *localKafka) close() {
	if k.stop != nil {
		k.stop()
		k.sweeper.Wait()
	}
	k.cluster.Close()
	_ = k.lock.Close()
}

// kafkaLog passes on what goes wrong.
type kafkaLog struct{ complain func(string) }

func (l kafkaLog) Logf(level kfake.LogLevel, format string, args ...any) {
	if level == kfake.LogLevelError {
		l.complain("local Kafka: " + fmt.Sprintf(format, args...))
	}
}

// A standIn is the local broker of a command: started when a program needs it.
type standIn struct {
	dir      string // of the state
	complain func(string)
	share    bool // use the broker of another process that has the folder
	kafka    *localKafka
	topics   []string // that programs have named
	addr     string
}

// ask asks the program for its structure, and gives it the local broker where it
// needs one and its environment names none. It reports the address, "" for none.
func (s *standIn) ask(ctx context.Context, b *build) (addr string, err error) {
	asked := b.inspect(ctx)
	var topics []string
	for _, n := range b.graph.Needs {
		if n.System == kafkaSystem && n.Variable == kafkaVariable {
			topics = n.Names
		}
	}
	if len(topics) == 0 || b.env.get(kafkaVariable) != "" {
		return "", asked
	}
	if err := s.provide(topics); err != nil {
		return "", err
	}
	b.env = b.env.with(kafkaVariable, s.addr)
	return s.addr, b.inspect(ctx)
}

// provide sees to it that there is a broker with the topics.
func (s *standIn) provide(topics []string) error {
	if s.addr == "" {
		k, err := startKafka(filepath.Join(s.dir, "kafka"), s.complain)
		var busy *kafkaBusyError
		switch {
		case err == nil:
			s.kafka, s.addr = k, k.addr
		case errors.As(err, &busy) && s.share:
			s.addr = busy.addr
			return nil // that process has created the topics
		case errors.As(err, &busy):
			return usageError{err}
		default:
			return err
		}
	}
	if s.kafka == nil {
		return nil
	}
	for _, t := range topics {
		if !slices.Contains(s.topics, t) {
			s.topics = append(s.topics, t)
		}
	}
	return s.kafka.create(topics)
}

func (s *standIn) close() {
	if s.kafka != nil {
		s.kafka.close()
		s.kafka = nil
	}
}
