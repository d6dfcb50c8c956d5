package keda

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/flowkit-go/flow/autoscale/keda/internal/wire"
)

// soon is how long anything over the network may take.
const soon = 20 * time.Second

// serve starts a Scaler on a port of its own, and returns its address and how to end it.
func serve(t *testing.T, cfg Config) (url string, stop func()) {
	t.Helper()
	cfg.Flow, cfg.Logger, cfg.Poll = "shop", quiet(), 10*time.Millisecond
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, l) }()
	stop = func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
		served <- nil
	}
	t.Cleanup(stop)
	return "http://" + l.Addr().String(), stop
}

// kedaClient speaks gRPC over HTTP/2 without TLS.
func kedaClient(t *testing.T) *http.Client {
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func method[In, Out any](t *testing.T, url, name string) *connect.Client[In, Out] {
	return connect.NewClient[In, Out](kedaClient(t), url+service+name, connect.WithGRPC())
}

func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	t.Cleanup(cancel)
	return ctx
}

func TestServiceAnswers(t *testing.T) {
	g := newGroup(4)
	g.set(func(g *fakeGroup) { g.written, g.members = 100, 3 })
	url, _ := serve(t, Config{Processors: []Processor{bill(g)}})
	ctx := deadline(t)
	ref := &wire.Ref{Name: "shop-bill", Metadata: map[string]string{MetaProcessor: "bill"}}

	spec, err := method[wire.Ref, wire.Specs](t, url, "GetMetricSpec").CallUnary(ctx, connect.NewRequest(ref))
	if err != nil {
		t.Fatal(err)
	}
	if s := spec.Msg.Specs; len(s) != 1 || s[0].Name != "flow-bill" || s[0].Target != 1 || s[0].TargetFloat != 1 {
		t.Errorf("spec %v", s)
	}
	metrics := method[wire.Request, wire.Values](t, url, "GetMetrics")
	values, err := metrics.CallUnary(ctx, connect.NewRequest(&wire.Request{Ref: ref, Name: "flow-bill"}))
	if err != nil {
		t.Fatal(err)
	}
	if v := values.Msg.Values; len(v) != 1 || v[0].Name != "flow-bill" || v[0].Value != 3 || v[0].ValueFloat != 3 {
		t.Errorf("values %v, want the 3 that run", v)
	}
	if _, err := metrics.CallUnary(ctx, connect.NewRequest(&wire.Request{Ref: ref, Name: "lag"})); connect.CodeOf(err) != connect.CodeInvalidArgument {
		t.Errorf("a metric that there is not: %v", err)
	}
	other := &wire.Ref{Metadata: map[string]string{MetaProcessor: "ship"}}
	_, err = method[wire.Ref, wire.Active](t, url, "IsActive").CallUnary(ctx, connect.NewRequest(other))
	if connect.CodeOf(err) != connect.CodeInvalidArgument || !strings.Contains(err.Error(), "use one of bill") {
		t.Errorf("a processor that there is not: %v", err)
	}
}

func TestStreamTellsChanges(t *testing.T) {
	g := newGroup(4)
	url, stop := serve(t, Config{Processors: []Processor{bill(g)}, Idle: 50 * time.Millisecond})
	ctx := deadline(t)
	stream, err := method[wire.Ref, wire.Active](t, url, "StreamIsActive").CallServerStream(ctx, connect.NewRequest(&wire.Ref{}))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	told := func() bool {
		t.Helper()
		if !stream.Receive() {
			t.Fatalf("the stream has ended: %v", stream.Err())
		}
		return stream.Msg().Result
	}
	active := told()
	if active {
		t.Error("active with nothing to do")
	}
	for i := range 3 {
		g.set(func(g *fakeGroup) { g.written = float64(1-i%2) * 40 })
		if now := told(); now == active {
			t.Fatalf("told %v twice", now)
		}
		active = !active
	}
	stop()
	if stream.Receive() {
		t.Error("the stream goes on after the scaler")
	}
	if code := connect.CodeOf(stream.Err()); code != connect.CodeUnavailable {
		t.Errorf("the stream ends with %v, want unavailable", stream.Err())
	}
}

func TestStreamOfSpecs(t *testing.T) {
	url, stop := serve(t, Config{Processors: []Processor{bill(newGroup(1))}})
	stream, err := method[wire.Ref, wire.Specs](t, url, "StreamMetricSpec").CallServerStream(deadline(t), connect.NewRequest(&wire.Ref{}))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if !stream.Receive() || stream.Msg().Specs[0].Name != "flow-bill" {
		t.Errorf("%v, %v", stream.Msg(), stream.Err())
	}
	stop()
	if stream.Receive() {
		t.Error("a second spec")
	}
}

// A stream whose caller leaves does not keep the server from ending.
func TestStreamThatIsGivenUp(t *testing.T) {
	url, stop := serve(t, Config{Processors: []Processor{bill(newGroup(1))}})
	ctx, cancel := context.WithCancel(deadline(t))
	stream, err := method[wire.Ref, wire.Active](t, url, "StreamIsActive").CallServerStream(ctx, connect.NewRequest(&wire.Ref{}))
	if err != nil {
		t.Fatal(err)
	}
	if !stream.Receive() {
		t.Fatal(stream.Err())
	}
	cancel()
	for stream.Receive() {
	}
	if err := stream.Close(); err != nil && connect.CodeOf(err) != connect.CodeCanceled {
		t.Error(err)
	}
	stop()
}

func TestPlainHTTP(t *testing.T) {
	url, _ := serve(t, Config{Processors: []Processor{bill(newGroup(1))}})
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	for path, want := range map[string]string{"/livez": "ok", "/readyz": "ok", "/state": `"processor": "bill"`} {
		resp, err := (&http.Client{Transport: transport}).Get(url + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.Body.Close() != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(body), want) {
			t.Errorf("%s: %s %s %v", path, resp.Status, body, err)
		}
	}
}

// slowGroup answers when it is let.
type slowGroup struct {
	*fakeGroup
	asked, answer chan struct{}
}

// Standing implements Group.
func (g slowGroup) Standing(ctx context.Context) (Standing, error) {
	select {
	case g.asked <- struct{}{}:
	default:
	}
	select {
	case <-g.answer:
		return g.fakeGroup.Standing(ctx)
	case <-ctx.Done():
		return Standing{}, ctx.Err()
	}
}

// Before the first look has come to something nothing is answered: KEDA would start a
// process for nothing with each start of a scaler.
func TestNoAnswerBeforeTheFirstLook(t *testing.T) {
	g := slowGroup{newGroup(4), make(chan struct{}, 1), make(chan struct{})}
	url, _ := serve(t, Config{Processors: []Processor{bill(g)}})
	ctx := deadline(t)
	<-g.asked
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	isActive := method[wire.Ref, wire.Active](t, url, "IsActive")
	if a, err := isActive.CallUnary(short, connect.NewRequest(&wire.Ref{})); connect.CodeOf(err) != connect.CodeDeadlineExceeded {
		t.Errorf("%v, %v while the first look is under way", a, err)
	}
	close(g.answer)
	if a, err := isActive.CallUnary(ctx, connect.NewRequest(&wire.Ref{})); err != nil || a.Msg.Result {
		t.Errorf("%v, %v, want not active", a, err)
	}
}

// A scaler that ends while somebody waits for its first look lets go of them.
func TestEndBeforeTheFirstLook(t *testing.T) {
	g := slowGroup{newGroup(4), make(chan struct{}, 1), make(chan struct{})}
	url, stop := serve(t, Config{Processors: []Processor{bill(g)}})
	ctx, ended := deadline(t), make(chan error, 1)
	call := method[wire.Ref, wire.Active](t, url, "StreamIsActive")
	go func() {
		stream, err := call.CallServerStream(ctx, connect.NewRequest(&wire.Ref{}))
		if err == nil { // there are headers before there is an answer, or the end
			if stream.Receive() {
				t.Error("an answer without a look")
			}
			err = errors.Join(stream.Err(), stream.Close())
		}
		ended <- err
	}()
	<-g.asked
	stop()
	if err := <-ended; connect.CodeOf(err) != connect.CodeUnavailable {
		t.Errorf("%v, want unavailable", err)
	}
}

// Nobody can make a scaler keep more than a trigger has.
func TestQuestionThatIsTooLarge(t *testing.T) {
	url, _ := serve(t, Config{Processors: []Processor{bill(newGroup(1))}})
	ref := &wire.Ref{Metadata: map[string]string{"x": strings.Repeat("x", 2<<20)}}
	_, err := method[wire.Ref, wire.Active](t, url, "IsActive").CallUnary(deadline(t), connect.NewRequest(ref))
	if connect.CodeOf(err) != connect.CodeResourceExhausted {
		t.Errorf("%v for 2 MiB", err)
	}
}
