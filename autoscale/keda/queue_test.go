package keda

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// pods are processes that answer, each with a backlog and a speed.
func pods(n int, backlog int64) everyone {
	all := everyone{asked: true}
	for i := range n {
		s := processorState{Name: "bill", Replicas: 1, Throughput: 100, Backlog: of(backlog), CPU: of(50.)}
		all.peers = append(all.peers, peer{address: fmt.Sprintf("10.0.0.%d:9650", i), state: state{Flow: "shop", Processors: []processorState{s}}})
	}
	return all
}

// lent is what a queue tells that lends its records and does not know to how many.
func lent(waiting int64) Standing {
	return Standing{Waiting: map[string]int64{"orders/0": waiting}, Committed: map[string]int64{"orders/0": 812}, Members: -1}
}

// A queue tells what waits, also where no process runs, so that KEDA can begin with the
// first one; how many there are and how fast they are the processes tell.
func TestQueueThatLends(t *testing.T) {
	p := asked(1)
	p.Group = newGroup(1)
	m := newMonitor(&p, DefaultPoll, DefaultIdle)
	at := time.Now().Truncate(time.Hour)
	look := func(waiting int64, all everyone) {
		t.Helper()
		m.update(lookAt(at, &p, lent(waiting), nil, all))
		at = at.Add(time.Minute)
	}
	look(0, pods(0, 0))
	if m.active(0) || m.err != nil || m.state.Wanted != 1 {
		t.Errorf("no process and nothing to do: active %v, %v, %+v", m.active(0), m.err, m.state)
	}
	look(40, pods(0, 0))
	if !m.active(0) || m.active(100) {
		t.Errorf("40 wait: active %v, with 100 that do not count %v", m.active(0), m.active(100))
	}
	look(60_000, pods(2, 7)) // what the processes say of the backlog is older
	if st := m.state; st.Processes != 2 || *st.Backlog != 60_000 || *st.Throughput != 200 || st.Shared {
		t.Errorf("%+v", st)
	}
	look(60_000, pods(2, 7))
	if st := m.state; st.Wanted < 4 || st.Partitions != 0 { // 300 s at 200/s; a queue is not bounded by partitions
		t.Errorf("%+v, want more than the 2 that take 5 times the threshold", st)
	}
	look(0, pods(2, 7))
	look(0, pods(2, 7))
	if m.active(0) {
		t.Error("active after a minute with nothing to do")
	}
	if l := lookAt(at, &p, lent(7), nil, everyone{}); l.err == nil || !strings.Contains(l.err.Error(), "--peers") {
		t.Errorf("without peers: %v", l.err)
	}
}

// Where the processes alone know what waits none may be the last one: nobody would tell
// when there is something to do again.
func TestActiveWhereOnlyProcessesTell(t *testing.T) {
	p := asked(1)
	m := newMonitor(&p, DefaultPoll, DefaultIdle)
	at := time.Now()
	for range 30 {
		m.update(lookAt(at, &p, Standing{}, nil, pods(1, 0)))
		at = at.Add(time.Minute)
		if !m.active(0) {
			t.Fatal("not active")
		}
	}
	m.update(lookAt(at.Add(time.Hour), &p, Standing{}, nil, pods(0, 0)))
	if !m.active(0) || m.state.Backlog != nil {
		t.Errorf("active %v, %+v where no process tells of the backlog", m.active(0), m.state)
	}
}

// A name that has lost its addresses, by its own fault or that of the DNS, takes no
// process away, until that has lasted.
func TestNameThatLosesItsProcesses(t *testing.T) {
	p := Processor{Name: "bill", Requests: true, Limits: limits(1), NumCPUs: 1}
	m := newMonitor(&p, DefaultPoll, DefaultIdle)
	at := time.Now()
	look := func(after time.Duration, all everyone) State {
		at = at.Add(after)
		m.update(lookAt(at, &p, Standing{}, nil, all))
		return m.state
	}
	busy := pods(20, 0)
	for i := range busy.peers {
		busy.peers[i].state.Processors[0].InFlight = 1
	}
	look(0, busy)
	if st := look(time.Minute, busy); st.Wanted != 20 {
		t.Fatalf("%+v, want the 20 that run", st)
	}
	for range 4 {
		if st := look(time.Minute, pods(0, 0)); st.Wanted != 20 || len(st.Unanswered) != 1 || !strings.Contains(st.Unanswered[0], "no process is found any more") {
			t.Errorf("%+v, want 20 still, and why", st)
		}
	}
	if st := look(patience, pods(0, 0)); st.Wanted != 1 || len(st.Unanswered) != 0 {
		t.Errorf("%+v, want one to begin with, as there has been none for long", st)
	}
	if st := look(time.Minute, busy); st.Wanted != 20 {
		t.Errorf("%+v, want the 20 that run again", st)
	}
}
