package keda

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flowkit-go/flow/autoscale"
)

// fakePods answer for the processes of a flow, by address, without a network.
type fakePods struct {
	mu   sync.Mutex
	pods map[string]processorState
	dead map[string]bool
}

// RoundTrip implements http.RoundTripper.
func (f *fakePods) RoundTrip(r *http.Request) (*http.Response, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p, ok := f.pods[r.URL.Host]
	if !ok || f.dead[r.URL.Host] || r.URL.Path != "/state" {
		return nil, errors.New("connection refused")
	}
	p.Name = "bill"
	body, err := json.Marshal(state{Flow: "shop", Processors: []processorState{{Name: "other", Replicas: 7}, p}})
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(string(body)))}, nil
}

func (f *fakePods) set(change func(*fakePods)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

// peers are all pods, by address.
func (f *fakePods) peers() *Peers {
	p := &Peers{Client: &http.Client{Transport: f}}
	for address := range f.pods {
		p.Addresses = append(p.Addresses, address)
	}
	return p
}

func of[T any](v T) *T { return &v }

// A consumer whose source tells nothing: the processes are asked.
func asked(most int) Processor {
	l := limits(most)
	l.ScaleDownWindow = 0
	return Processor{Name: "bill", Limits: l, NumCPUs: 1}
}

func TestReplicasOfProcesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pods := &fakePods{pods: map[string]processorState{
			"10.0.0.1:9650": {Replicas: 4, Throughput: 400, Backlog: of[int64](90_000), CPU: of(50.)},
			"10.0.0.2:9650": {Replicas: 2, Throughput: 200, Backlog: of[int64](90_000), CPU: of(20.)},
		}}
		s := start(t, Config{Processors: []Processor{asked(4)}, Peers: pods.peers()})
		time.Sleep(time.Second)
		synctest.Wait()
		// 180,000 at 600/s take 300 s, 5 times the threshold: 30 replicas, 4 in a process.
		st := s.States()[0]
		if st.Decision.Replicas != 30 || st.Wanted != 8 || st.Replicas != 6 || st.Processes != 2 {
			t.Errorf("%+v", st)
		}
		if n := wanted(t, s, map[string]string{MetaReplicas: "10"}); n != 3 {
			t.Errorf("%d wanted with 10 replicas per process, want 3", n)
		}
	})
}

func TestSharedBacklogCountsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		queue := []struct {
			Topic     string `json:"topic"`
			Partition int32  `json:"partition"`
		}{{Topic: "orders"}}
		pods := &fakePods{pods: map[string]processorState{
			"10.0.0.1:9650": {Replicas: 1, Throughput: 100, Backlog: of[int64](600), CPU: of(50.), Lanes: queue},
			"10.0.0.2:9650": {Replicas: 1, Throughput: 100, Backlog: of[int64](601), CPU: of(50.), Lanes: queue},
		}}
		s := start(t, Config{Processors: []Processor{asked(4)}, Peers: pods.peers()})
		time.Sleep(time.Second)
		synctest.Wait()
		if st := s.States()[0]; !st.Shared || *st.Backlog != 601 {
			t.Errorf("%+v, want the larger of the two backlogs of one queue", st)
		}
	})
}

// Where the pools of processes are not resized inside, processes are what is decided
// about, however many replicas each has.
func TestProcessesThatAreAlike(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		alike := processorState{Replicas: 4, Throughput: 400, Backlog: of[int64](72_000), CPU: of(50.)}
		pods := &fakePods{pods: map[string]processorState{"10.0.0.1:9650": alike, "10.0.0.2:9650": alike}}
		p := asked(4)
		p.Limits.Min, p.Limits.Start = 4, 4
		s := start(t, Config{Processors: []Processor{p}, Peers: pods.peers()})
		time.Sleep(time.Second)
		synctest.Wait()
		if st := s.States()[0]; st.Decision.From != 2 || st.Decision.Replicas != 6 || st.Wanted != 6 || st.Replicas != 8 {
			t.Errorf("%+v, want 6 processes for 3 times the burn threshold with 2", st)
		}
	})
}

// A process whose CPUs are full runs fewer replicas than its bounds say, which is still
// so when there is less to do.
func TestProcessesThatAreFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		busy := processorState{Replicas: 4, Throughput: 400, Backlog: of[int64](48_000), CPU: of(50.)}
		full := busy
		full.Autoscale.WantedCPU = 8
		pods := &fakePods{pods: map[string]processorState{"10.0.0.1:9650": busy, "10.0.0.2:9650": busy}}
		s := start(t, Config{Processors: []Processor{asked(16)}, Peers: pods.peers()})
		time.Sleep(time.Second)
		synctest.Wait()
		if st := s.States()[0]; st.Decision.Replicas != 16 || st.Wanted != 2 {
			t.Errorf("%+v, want 16 replicas in the two processes, though one would have room", st)
		}
		pods.set(func(p *fakePods) { p.pods["10.0.0.1:9650"] = full })
		time.Sleep(DefaultPoll)
		synctest.Wait()
		if st := s.States()[0]; st.Wanted != 4 || st.Each != 4 {
			t.Errorf("%+v, want 4 processes of 4", st)
		}
		pods.set(func(p *fakePods) { p.pods["10.0.0.1:9650"] = busy })
		time.Sleep(DefaultPoll)
		synctest.Wait()
		if st := s.States()[0]; st.Wanted != 4 {
			t.Errorf("%+v, want 4 processes still", st)
		}
		busy.Replicas = 5
		pods.set(func(p *fakePods) { p.pods["10.0.0.1:9650"] = busy })
		time.Sleep(DefaultPoll)
		synctest.Wait()
		if st := s.States()[0]; st.Each != 5 {
			t.Errorf("%+v, want room for the 5 that run", st)
		}
	})
}

// A process that does not answer shrinks nothing, whatever the others say.
func TestUnansweredHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		idle := processorState{Replicas: 4, Throughput: 100, Backlog: of[int64](0), CPU: of(5.)}
		pods := &fakePods{pods: map[string]processorState{"10.0.0.1:9650": idle, "10.0.0.2:9650": idle}, dead: map[string]bool{"10.0.0.2:9650": true}}
		s := start(t, Config{Processors: []Processor{asked(4)}, Peers: pods.peers()})
		settle()
		st := s.States()[0]
		if st.Wanted != 2 || len(st.Unanswered) != 1 || !strings.Contains(st.Unanswered[0], "10.0.0.2:9650: Get") || st.Decision.Rule != autoscale.RuleUnknown {
			t.Errorf("one of two answers: %+v", st)
		}
		if !strings.Contains(st.Decision.Reason, "10.0.0.2:9650") {
			t.Errorf("the reason does not say who: %s", st.Decision.Reason)
		}
		pods.set(func(p *fakePods) { p.dead = nil })
		settle()
		if st = s.States()[0]; st.Wanted != 1 || len(st.Unanswered) != 0 {
			t.Errorf("both answer, and use 5 %% of their CPUs: %+v", st)
		}
		pods.set(func(p *fakePods) { p.dead = map[string]bool{"10.0.0.1:9650": true, "10.0.0.2:9650": true} })
		time.Sleep(DefaultPoll)
		synctest.Wait()
		tr, err := s.trigger(nil)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := tr.wanted(); !errors.Is(err, errUnknown) {
			t.Errorf("%d, %v where none answers", n, err)
		}
	})
}

// The source knows of a process that is not found under the name: its CPU is not known.
func TestMemberThatIsNotFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(8)
		g.set(func(g *fakeGroup) { g.members = 3 })
		idle := processorState{Replicas: 1, CPU: of(1.)}
		pods := &fakePods{pods: map[string]processorState{"10.0.0.1:9650": idle, "10.0.0.2:9650": idle}}
		p := asked(1)
		p.Group = g
		s := start(t, Config{Processors: []Processor{p}, Peers: pods.peers()})
		settle()
		if st := s.States()[0]; st.Wanted != 3 || st.Processes != 3 || st.Decision.Rule != autoscale.RuleUnknown {
			t.Errorf("%+v", st)
		}
		g.set(func(g *fakeGroup) { g.members = 2 })
		settle()
		if st := s.States()[0]; st.Wanted != 1 {
			t.Errorf("%+v, want 1 for 2 that use 1 %% of their CPUs", st)
		}
	})
}

func TestRequestsInProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pods := &fakePods{pods: map[string]processorState{
			"10.0.0.1:9650": {Replicas: 2, InFlight: 20, Backlog: of[int64](5)},
			"10.0.0.2:9650": {Replicas: 2, InFlight: 20, Backlog: of[int64](0)},
		}}
		l := limits(3)
		l.TargetOngoing = 5
		s := start(t, Config{Processors: []Processor{{Name: "bill", Requests: true, Limits: l}}, Peers: pods.peers()})
		settle()
		if st := s.States()[0]; st.Decision.Replicas != 9 || st.Wanted != 3 {
			t.Errorf("%+v, want 9 replicas for 45 requests", st)
		}
		pods.set(func(p *fakePods) {
			p.pods["10.0.0.1:9650"], p.pods["10.0.0.2:9650"] = processorState{Replicas: 5}, processorState{Replicas: 4}
		})
		settle()
		if !isActive(t, s, nil) {
			t.Error("not active: nobody would answer requests")
		}
	})
}

// dnsServer answers for one name with addresses, and with "no such name" without any.
func dnsServer(t *testing.T, addresses func() []string) *net.Resolver {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() {
		_ = conn.Close()
		<-done
	})
	go func() {
		defer close(done)
		buf := make([]byte, 512)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = conn.WriteTo(dnsAnswer(buf[:n], addresses()), from)
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

// dnsAnswer is the answer of RFC 1035 to a message with one question.
func dnsAnswer(query []byte, addresses []string) []byte {
	end := 12
	for query[end] != 0 {
		end += int(query[end]) + 1
	}
	end += 5 // the root, type and class
	isA := query[end-3] == 1
	out := append([]byte{}, query[:2]...)
	flags, answers := byte(0x80), byte(0)
	if len(addresses) == 0 {
		flags = 0x83 // no such name
	} else if isA {
		answers = byte(len(addresses))
	}
	out = append(out, 0x84, flags, 0, 1, 0, answers, 0, 0, 0, 0)
	out = append(out, query[12:end]...)
	if isA {
		for _, a := range addresses {
			out = append(out, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4)
			out = append(out, net.ParseIP(a).To4()...)
		}
	}
	return out
}

func TestNameOfManyProcesses(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Host[:strings.LastIndex(r.Host, ":")] {
		case "127.0.0.1":
			fmt.Fprint(w, `{"flow": "shop", "processors": [{"name": "bill", "replicas": 2, "cpu_percent": 40, "backlog": null}]}`)
		case "127.0.0.2":
			fmt.Fprint(w, `{"flow": "blog", "processors": []}`)
		default:
			http.Error(w, "starting", http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	// One port for all, as that of a headless Service: the second and third address
	// lead to the same server.
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, server.Listener.Addr().String())
	}}
	defer transport.CloseIdleConnections()
	var addresses atomic.Value
	addresses.Store([]string{"127.0.0.1", "127.0.0.2", "127.0.0.3"})
	p := &Peers{Addresses: []string{"shop.default.svc.:" + port}, Client: &http.Client{Transport: transport},
		Resolver: dnsServer(t, func() []string { return addresses.Load().([]string) })}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	found, err := p.look(ctx, "shop")
	if err != nil || len(found) != 3 {
		t.Fatalf("%v, %v", found, err)
	}
	if s := found[0]; s.err != nil || s.state.Processors[0].Replicas != 2 || s.state.Processors[0].Backlog != nil {
		t.Errorf("%+v", s)
	}
	for i, want := range map[int]string{1: `runs the flow "blog", not "shop"`, 2: "503"} {
		if err := found[i].err; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("process %d: error %v, want %s", i, err, want)
		}
	}

	// A Service without pods has no address.
	addresses.Store([]string(nil))
	if found, err := p.look(ctx, "shop"); err != nil || len(found) != 0 {
		t.Errorf("%v, %v for a name without addresses", found, err)
	}
}
