package flow

import (
	"context"
	"errors"
	"fmt"

	"github.com/flowkit-go/flow/runtime"
	"github.com/flowkit-go/flow/runtime/web"
)

// Collector adds a processor that takes HTTP requests, as "POST /orders", calls
// fn for each and writes what it returns to sink. It answers {"success": true}
// when the sink has confirmed, and a problem document (RFC 9457) otherwise. Skip
// answers success without output.
//
// In is bound as for an Endpoint.
func Collector[In, Out any](app *Flow, pattern string, sink Sink[Out],
	fn func(context.Context, In) (Out, error), opts ...CollectorOption) {
	app.add(newCollector(callSite(1), pattern, sink, fn, opts))
}

// NewCollector makes a processor like Collector does, for Flow.Add.
func NewCollector[In, Out any](pattern string, sink Sink[Out],
	fn func(context.Context, In) (Out, error), opts ...CollectorOption) *Processor {
	return newCollector(callSite(1), pattern, sink, fn, opts)
}

func newCollector[In, Out any](at, pattern string, sink Sink[Out],
	fn func(context.Context, In) (Out, error), opts []CollectorOption) *Processor {
	p := newProcessor(KindCollector, pattern, at)
	p.pattern = pattern
	for i, o := range opts {
		if o == nil {
			p.fail(fmt.Errorf("option %d is nil", i+1))
			continue
		}
		o.collector(p.settings)
	}
	if fn == nil {
		p.fail(errors.New("the handler is nil"))
	}
	encode := encoderOf(p, "sink", sink)
	if sink != nil {
		p.sink = sink.String()
	}
	p.uses(writes, resourcesOfSink(sink))
	outlet := &runtime.Outlet{}
	make := func() (*web.Route, error) {
		return web.Collector(pattern, func(ctx context.Context, in In) error {
			v, err := fn(ctx, in)
			if err != nil {
				if errors.Is(err, Skip) {
					return nil
				}
				return err
			}
			out := outlet.Outputs()
			if err := encode(v, out); err != nil {
				return notEncoded(err)
			}
			return outlet.Write(ctx, out)
		})
	}
	p.setRoute(make, func(r *runtime.Route) {
		r.Outlet = outlet
		r.Sink = sinkSpec(sink)
	})
	return p
}

// setRoute checks the route and keeps how to make it: each run gets its own.
func (p *Processor) setRoute(make func() (*web.Route, error), more func(*runtime.Route)) {
	route, err := make()
	if err != nil {
		p.fail(split(err)...)
		return
	}
	p.shape = &route.Pattern
	p.route = func(s *spec) *runtime.Route {
		route, _ := make() // the error was reported when it was registered
		r := &runtime.Route{
			Name: s.name, Kind: string(p.kind), At: p.at, Web: route,
			Timeout: s.timeout, MaxBody: s.maxBody, Processor: s.processor(),
		}
		more(r)
		return r
	}
}
