package web

import (
	"context"
	"errors"
	"net/http"
	"time"
)

// A Handler answers one request and returns the status that it wrote, or writes
// nothing and returns an error, which the server answers. ctx is the request's
// with the route's deadline and whatever a wrapper of the Handler added to it.
type Handler func(ctx context.Context, w http.ResponseWriter, r *http.Request) (status int, err error)

// A Route is a pattern and what answers its requests. Its fields may be changed
// until the server serves.
type Route struct {
	Pattern Pattern
	Name    string // for logs and the route table; may be empty
	Handler Handler

	// Timeout is how long a request may take, with its wait in the Limiter: then
	// its context ends. 0 means DefaultTimeout. A negative one means no limit, and
	// none for reading and writing either, for routes that stream.
	Timeout time.Duration

	// BodyLimit is the largest body in bytes; 0 means DefaultBodyLimit, a negative
	// one no limit.
	BodyLimit int64

	// Limiter bounds the requests in flight, from before their bodies are read;
	// nil means no bound. Routes may share one.
	Limiter *Limiter

	// Observe, when not nil, is called after every request.
	Observe func(Observation)

	// Begin, when not nil, is called before every request that the route takes.
	Begin func(r *http.Request)

	raw http.Handler // in place of Handler, see Server.Handle

	// discreet is set when the Handler uses nothing that chi puts into the
	// *http.Request, and does not wait for its context, only for ctx.
	discreet bool
}

// An Observation says how a request was answered.
type Observation struct {
	// Status is StatusClientGone when the client left, and the one that was sent,
	// or 0, when the connection was cut.
	Status int
	Began  time.Time
	Took   time.Duration

	// Shard is a number below Shards. Requests at the same time have different ones
	// where it can be done, so that they can be counted in different places.
	Shard int
}

// DefaultTimeout is how long a request may take when its route does not say.
const DefaultTimeout = 30 * time.Second

// Endpoint returns the route that calls fn with what requests hold and answers
// with what it returns: see [Binder] and [Reply]. It errs when the pattern is
// wrong, fn is nil, or In or Out don't fit.
func Endpoint[In, Out any](pattern string, fn func(context.Context, In) (Out, error)) (*Route, error) {
	p, err := ParsePattern(pattern)
	if err != nil {
		return nil, err
	}
	in, errIn := NewBinder[In](p)
	out, errOut := NewReply[Out]()
	if err := errors.Join(errIn, errOut, notNil(p, fn == nil)); err != nil {
		return nil, err
	}
	rt := &Route{Pattern: p, discreet: out.kind != replyResponder} // which gets the request
	rt.Handler = func(ctx context.Context, w http.ResponseWriter, r *http.Request) (int, error) {
		v, err := in.bind(r, paramsOf(ctx), rt.BodyLimit)
		if err != nil {
			return 0, err
		}
		res, err := fn(ctx, v)
		if err != nil {
			return 0, err
		}
		return out.Write(w, r, res)
	}
	return rt, nil
}

// Collector returns the route that calls fn with what requests hold and answers
// {"success": true} when it returns no error.
func Collector[In any](pattern string, fn func(context.Context, In) error) (*Route, error) {
	p, err := ParsePattern(pattern)
	if err != nil {
		return nil, err
	}
	in, err := NewBinder[In](p)
	if err := errors.Join(err, notNil(p, fn == nil)); err != nil {
		return nil, err
	}
	rt := &Route{Pattern: p, discreet: true}
	rt.Handler = func(ctx context.Context, w http.ResponseWriter, r *http.Request) (int, error) {
		v, err := in.bind(r, paramsOf(ctx), rt.BodyLimit)
		if err != nil {
			return 0, err
		}
		if err := fn(ctx, v); err != nil {
			return 0, err
		}
		return WriteSuccess(w)
	}
	return rt, nil
}

func notNil(p Pattern, isNil bool) error {
	if isNil {
		return errors.New("web: " + p.String() + ": the handler is nil")
	}
	return nil
}

var success = []byte(`{"success": true}`)

// WriteSuccess answers 200 with {"success": true}.
func WriteSuccess(w http.ResponseWriter) (status int, err error) {
	w.Header()["Content-Type"] = typeJSON
	w.Write(success) // an error means that the client is gone
	return http.StatusOK, nil
}
