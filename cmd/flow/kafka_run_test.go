//go:build unix

package main

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// kafkaService is a flow run of testdata/kafka in dir, without brokers.
func kafkaService(t *testing.T, dir string, env ...string) *service {
	t.Helper()
	return runService(t, dir, append([]string{"KAFKA_BROKERS="}, env...))
}

// post sends numbers over HTTP; each answer means that Kafka has it.
func (s *service) post(numbers ...string) {
	s.t.Helper()
	for _, n := range numbers {
		resp, err := s.client.Post(s.url+"/numbers", "application/json", strings.NewReader(`{"n": `+n+`}`))
		if err != nil {
			s.t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			s.t.Fatalf("number %s: %s", n, resp.Status)
		}
	}
}

// keeps waits until the numbers are in the file.
func (s *service) keeps(numbers ...int) {
	s.t.Helper()
	eventually(s.t, "the numbers are kept", func() bool {
		kept := s.kept()
		return !slices.ContainsFunc(numbers, func(n int) bool { return kept[n] == 0 })
	})
}

// runs runs the flow command to its end, in a process of its own.
func runs(t *testing.T, dir string, args ...string) (stdout, stderr string) {
	t.Helper()
	p := start(t, dir, []string{"KAFKA_BROKERS="}, args...)
	p.exits(0)
	return p.stdout.String(), p.stderr.String()
}

// A program that uses Kafka runs without a broker. What is in its topics outlives a
// rebuild, a restart and a kill, other commands see it at the same time, and a
// dead letter is sent back once the program can handle it.
func TestRunWithoutABroker(t *testing.T) {
	t.Parallel()
	dir := tempModule(t, "kafka")
	s := kafkaService(t, dir)
	broker := s.sees(`kafka +(127\.0\.0\.1:\d+)  a stand-in inside of this command, as KAFKA_BROKERS is not set`)[1]
	s.post("1", "2", "-3")
	s.keeps(2, 4)

	list := func() string {
		stdout, _ := runs(t, dir, "dlq", "list", "double")
		return stdout
	}
	var letters string
	eventually(t, "the dead letter is listed", func() bool { letters = list(); return letters != "" })
	if !strings.Contains(letters, "a negative number") || strings.Count(letters, "\n") != 1 {
		t.Errorf("dlq list: %s", letters)
	}
	if stdout, _ := runs(t, dir, "send", ".", "numbers", `{"n": 7}`); stdout != "sent 1 record to kafka:numbers\n" {
		t.Errorf("send: %s", stdout)
	}
	s.keeps(14)

	// A tail goes on until it is told to stop, and ends well then.
	tail := start(t, dir, []string{"KAFKA_BROKERS="}, "tail", "numbers", "--format", "value")
	eventually(t, "tail shows the last records", func() bool { return strings.Contains(tail.stdout.String(), `{"n":-3}`) })
	s.post("9")
	eventually(t, "tail shows what comes", func() bool { return strings.Contains(tail.stdout.String(), `{"n":9}`) })
	tail.signal(os.Interrupt)
	tail.exits(0)
	s.keeps(18)

	edit(t, s.main, `"one"`, `"lenient"`)
	s.sees(`main.go changed, building... ok \S+, drained in \S+, swapped in `)
	s.post("4")
	s.keeps(8)
	if stdout, _ := runs(t, dir, "dlq", "retry", "double", "--all"); stdout != "1 dead letter of double sent back to kafka:numbers\n" {
		t.Errorf("dlq retry: %s", stdout)
	}
	s.keeps(-6)
	if letters := list(); letters != "" {
		t.Errorf("listed after retry: %s", letters)
	}
	p := start(t, dir, []string{"KAFKA_BROKERS="}, "replay", "keep", "--from", "earliest")
	p.exits(2)
	if got := p.stderr.String(); !strings.Contains(got, `"keep" is running: group kafka.keep reads kafka:doubled (flow on `) {
		t.Errorf("replay of a running consumer: %s", got)
	}
	s.signal(syscall.SIGTERM)
	s.exits(0)
	before := s.kept()

	// Nothing runs: the commands start the broker themselves.
	stdout, _ := runs(t, dir, "tail", "kafka:doubled", "--from", "earliest", "--follow=false", "--format", "value")
	lines := strings.Fields(stdout)
	slices.Sort(lines)
	if want := `{"n":-6} {"n":14} {"n":18} {"n":2} {"n":4} {"n":8}`; strings.Join(lines, " ") != want {
		t.Errorf("tail of what is stored: %v, want %s", lines, want)
	}
	if stdout, _ = runs(t, dir, "replay", "keep", "--from", "earliest"); !strings.HasPrefix(stdout, "group kafka.keep is set to\n") {
		t.Errorf("replay: %s", stdout)
	}
	s = kafkaService(t, dir)
	if again := s.sees(`kafka +(127\.0\.0\.1:\d+)`)[1]; again != broker {
		t.Errorf("the broker listens on %s, and on %s before", again, broker)
	}
	eventually(t, "what was kept is kept again", func() bool {
		after := s.kept()
		for n, times := range before {
			if after[n] < times+1 {
				return false
			}
		}
		return true
	})

	s.post("5")
	s.keeps(10)
	s.signal(os.Kill)
	<-s.done
	s = kafkaService(t, dir)
	s.sees(`kafka +127\.0\.0\.1:\d+`)
	s.post("6")
	s.keeps(12)
	stdout, _ = runs(t, dir, "tail", "doubled", "--from", "earliest", "--follow=false", "--format", "value")
	if n := strings.Count(stdout, "\n"); n < 8 {
		t.Errorf("%d records after a kill, want 8 at least:\n%s", n, stdout)
	}
	s.signal(syscall.SIGTERM)
	s.exits(0)
}

// With brokers named nothing is started, also when nobody listens there.
func TestRunWithABrokerNamed(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	dir := tempModule(t, "kafka")
	p := start(t, dir, []string{"KAFKA_BROKERS=" + addr}, "run", "--admin", "off", "--http", "127.0.0.1:0")
	p.exits(1)
	if got := p.stderr.String(); strings.Contains(got, "stand-in") || !strings.Contains(got, addr) {
		t.Errorf("stderr:\n%s", got)
	}
	if _, err := os.Stat(filepath.Join(dir, ".flow", "kafka")); !os.IsNotExist(err) {
		t.Errorf("there is a folder for a local broker: %v", err)
	}
}

// Two flow runs do not share a data folder with a broker in it.
func TestRunWithAFolderInUse(t *testing.T) {
	t.Parallel()
	dir := tempModule(t, "kafka")
	s := kafkaService(t, dir)
	broker := s.sees(`kafka +(127\.0\.0\.1:\d+)`)[1]
	p := start(t, dir, []string{"KAFKA_BROKERS="}, "run", "--admin", "off", "--http", "127.0.0.1:0")
	p.exits(2)
	if got := p.stderr.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "is in use by another process, which listens on "+broker) {
		t.Errorf("stderr: %s", got)
	}
	s.signal(syscall.SIGTERM)
	s.exits(0)
}
