package keda

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"connectrpc.com/connect"

	"github.com/flowkit-go/flow/autoscale/keda/internal/wire"
)

// service is the path of KEDA's gRPC service.
const service = "/externalscaler.ExternalScaler/"

// maxQuestion bounds what a caller may send.
const maxQuestion = 1 << 20

// errOver ends the streams of a Scaler that ends; KEDA opens them again.
var errOver = errors.New("the scaler ends")

// Handler answers the gRPC service externalscaler.ExternalScaler, and GET /livez,
// /readyz and /state over HTTP/1.1. The gRPC calls need a server that speaks HTTP/2
// without TLS, as Serve does.
func (s *Scaler) Handler() http.Handler {
	mux := http.NewServeMux()
	// An answer is a few bytes: there is nothing to compress. A question is a trigger,
	// which Kubernetes keeps below this.
	option := connect.WithHandlerOptions(connect.WithCompression("gzip", nil, nil), connect.WithReadMaxBytes(maxQuestion))
	mux.Handle(service+"IsActive", connect.NewUnaryHandler(service+"IsActive", s.isActive, option))
	mux.Handle(service+"StreamIsActive", connect.NewServerStreamHandler(service+"StreamIsActive", s.streamIsActive, option))
	mux.Handle(service+"GetMetricSpec", connect.NewUnaryHandler(service+"GetMetricSpec", s.getMetricSpec, option))
	mux.Handle(service+"StreamMetricSpec", connect.NewServerStreamHandler(service+"StreamMetricSpec", s.streamMetricSpec, option))
	mux.Handle(service+"GetMetrics", connect.NewUnaryHandler(service+"GetMetrics", s.getMetrics, option))
	well := func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintln(w, "ok") }
	mux.HandleFunc("GET /livez", well)
	mux.HandleFunc("GET /readyz", well) // also while nothing is known: KEDA is to hear that from here
	mux.HandleFunc("GET /state", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		out := json.NewEncoder(w)
		out.SetIndent("", "  ")
		_ = out.Encode(s.States())
	})
	return mux
}

// Serve runs the Scaler and answers on a listener until ctx ends. It closes the
// listener.
func (s *Scaler) Serve(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ran := make(chan struct{})
	go func() {
		defer close(ran)
		s.Run(ctx)
	}()
	server := &http.Server{Handler: s.Handler(), ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 5 * time.Minute, Protocols: new(http.Protocols)}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	var err error
	select {
	case err = <-served:
		err = fmt.Errorf("keda: serve on %s: %w", l.Addr(), err)
		cancel()
		<-ran
	case <-ctx.Done():
		<-ran // streams end with it
		closing, done := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer done()
		if server.Shutdown(closing) != nil {
			_ = server.Close() // somebody does not read what is sent
		}
		<-served
	}
	return err
}

// looked waits for the first look: before it an answer would be a guess, by which KEDA
// starts a process that has nothing to do whenever a Scaler starts.
func (s *Scaler) looked(ctx context.Context, t trigger) error {
	t.m.mu.Lock()
	first, changed := len(t.m.samples) == 0, t.m.changed
	t.m.mu.Unlock()
	if !first {
		return nil
	}
	select {
	case <-changed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-s.over:
		return connect.NewError(connect.CodeUnavailable, errOver)
	}
}

func invalid(err error) error { return connect.NewError(connect.CodeInvalidArgument, err) }

// isActive answers whether there is something to do.
func (s *Scaler) isActive(ctx context.Context, r *connect.Request[wire.Ref]) (*connect.Response[wire.Active], error) {
	t, err := s.trigger(r.Msg.GetMetadata())
	if err != nil {
		return nil, invalid(err)
	}
	if err := s.looked(ctx, t); err != nil {
		return nil, err
	}
	active, _ := t.active()
	return connect.NewResponse(&wire.Active{Result: active}), nil
}

// streamIsActive sends the same at once, and whenever it changes.
func (s *Scaler) streamIsActive(ctx context.Context, r *connect.Request[wire.Ref], stream *connect.ServerStream[wire.Active]) error {
	t, err := s.trigger(r.Msg.GetMetadata())
	if err != nil {
		return invalid(err)
	}
	if err := s.looked(ctx, t); err != nil {
		return err
	}
	for first, sent := true, false; ; first = false {
		active, changed := t.active()
		if first || active != sent {
			if err := stream.Send(&wire.Active{Result: active}); err != nil {
				return err
			}
			sent = active
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-s.over:
			return connect.NewError(connect.CodeUnavailable, errOver)
		}
	}
}

// specs is the processor's metric: a pod stands for one.
func (t trigger) specs() *wire.Specs {
	return &wire.Specs{Specs: []*wire.Spec{{Name: t.metric(), Target: 1, TargetFloat: 1}}}
}

func (s *Scaler) getMetricSpec(_ context.Context, r *connect.Request[wire.Ref]) (*connect.Response[wire.Specs], error) {
	t, err := s.trigger(r.Msg.GetMetadata())
	if err != nil {
		return nil, invalid(err)
	}
	return connect.NewResponse(t.specs()), nil
}

// streamMetricSpec sends the metric once: it never changes.
func (s *Scaler) streamMetricSpec(ctx context.Context, r *connect.Request[wire.Ref], stream *connect.ServerStream[wire.Specs]) error {
	t, err := s.trigger(r.Msg.GetMetadata())
	if err != nil {
		return invalid(err)
	}
	if err := stream.Send(t.specs()); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-s.over:
		return connect.NewError(connect.CodeUnavailable, errOver)
	}
}

// getMetrics answers how many processes are wanted. What is not known is an error, so
// that KEDA does what its fallback says, and never 0.
func (s *Scaler) getMetrics(ctx context.Context, r *connect.Request[wire.Request]) (*connect.Response[wire.Values], error) {
	t, err := s.trigger(r.Msg.GetRef().GetMetadata())
	if err != nil {
		return nil, invalid(err)
	}
	if name := r.Msg.GetName(); name != "" && name != t.metric() {
		return nil, invalid(fmt.Errorf("there is no metric %q: that of processor %s is %s", name, t.m.p.Name, t.metric()))
	}
	if err := s.looked(ctx, t); err != nil {
		return nil, err
	}
	n, err := t.wanted()
	if err != nil {
		return nil, connect.NewError(connect.CodeUnavailable, err)
	}
	return connect.NewResponse(&wire.Values{Values: []*wire.Value{{Name: t.metric(), Value: int64(n), ValueFloat: float64(n)}}}), nil
}
