package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"mime"
	"net"
	"net/http"
	"net/http/httputil"
	"syscall"
	"time"

	"github.com/flowkit-go/flow"
)

// A front owns an address that users know and passes requests on to the program
// that its gate names.
type front struct {
	what   string // http or admin
	gate   *gate
	addr   string // as listened on
	server *http.Server
	proxy  *httputil.ReverseProxy
	served chan struct{}
	wait   bool // hold requests; otherwise answer 503 when the gate does
}

// listenFront takes the address. Requests wait until the gate is opened.
func listenFront(what, addr, flag string, wait bool) (*front, error) {
	l, err := net.Listen("tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, usagef("%s address %s is in use: end the program that listens there, or choose another with %s, as %s 127.0.0.1:0", what, addr, flag, flag)
	}
	if err != nil {
		return nil, usagef("%s address %s cannot be listened on: %w: correct it with %s", what, addr, err, flag)
	}
	f := &front{what: what, gate: newGate(), addr: l.Addr().String(), served: make(chan struct{}), wait: wait}
	f.proxy = &httputil.ReverseProxy{
		Rewrite:        f.rewrite,
		FlushInterval:  -1, // streams arrive as they are written
		ModifyResponse: f.answered,
		ErrorHandler:   f.failed,
		ErrorLog:       log.New(io.Discard, "", 0), // the client sees what failed
		Transport: &http.Transport{
			DialContext:         (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
			DisableCompression:  true, // what the client has asked for decides
			MaxIdleConnsPerHost: 256,
			// Shorter than the program's: a connection that it closes while a
			// request is on its way would lose that request.
			IdleConnTimeout:       30 * time.Second,
			ExpectContinueTimeout: time.Second,
		},
	}
	f.server = &http.Server{
		Handler:           f,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          log.New(io.Discard, "", 0),
	}
	go func() {
		defer close(f.served)
		_ = f.server.Serve(l) // ends with close
	}()
	return f, nil
}

// url is how to reach it from this machine.
func (f *front) url() string {
	host, port, err := net.SplitHostPort(f.addr)
	if ip := net.ParseIP(host); err == nil && ip != nil && ip.IsUnspecified() {
		return "http://" + net.JoinHostPort("localhost", port)
	}
	return "http://" + f.addr
}

// passed is what a front knows about a request that has passed its gate.
type passed struct {
	addr   string
	leave  func()
	cancel context.CancelFunc
	stream func() // stops the binding of a stream to its program
}

type passedKey struct{}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	waiting := ctx
	if !f.wait {
		now, stop := context.WithCancel(ctx)
		stop()
		waiting = now
	}
	addr, leave, err := f.gate.enter(waiting)
	if err != nil {
		if !f.wait && errors.Is(err, context.Canceled) {
			err = errors.New("the flow is being replaced")
		}
		unavailable(w, err)
		return
	}
	defer leave()
	if addr == "" {
		unavailable(w, errors.New("this flow answers no HTTP requests"))
		return
	}
	p := &passed{addr: addr, leave: leave, cancel: cancel, stream: func() {}}
	defer func() { p.stream() }()
	f.proxy.ServeHTTP(w, r.WithContext(context.WithValue(ctx, passedKey{}, p)))
}

func (f *front) rewrite(r *httputil.ProxyRequest) {
	p := r.In.Context().Value(passedKey{}).(*passed)
	r.Out.URL.Scheme, r.Out.URL.Host = "http", p.addr
	r.Out.URL.RawQuery = r.In.URL.RawQuery // also what cannot be parsed is the program's to refuse
	r.Out.Header["X-Forwarded-For"] = r.In.Header["X-Forwarded-For"]
	r.SetXForwarded()
}

// answered looks for answers that never end: nobody waits for them when the
// program is replaced, they end with it.
func (f *front) answered(r *http.Response) error {
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if r.StatusCode == http.StatusSwitchingProtocols || kind == "text/event-stream" {
		p := r.Request.Context().Value(passedKey{}).(*passed)
		stop := context.AfterFunc(f.gate.streams(), p.cancel)
		p.stream = func() { stop() }
		p.leave()
	}
	return nil
}

func (f *front) failed(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		return // nobody is there to read it
	}
	problem(w, http.StatusBadGateway, "the flow gave no answer: "+err.Error())
}

func unavailable(w http.ResponseWriter, err error) {
	w.Header().Set("Retry-After", "1")
	problem(w, http.StatusServiceUnavailable, err.Error())
}

// problem answers as the program's own errors do (RFC 9457).
func problem(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{
		"type": "about:blank", "title": http.StatusText(status), "status": status, "detail": detail,
	})
}

// close answers what is under way, for at most wait, and gives up the address.
func (f *front) close(wait time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	if err := f.server.Shutdown(ctx); err != nil {
		_ = f.server.Close()
	}
	<-f.served
	f.proxy.Transport.(*http.Transport).CloseIdleConnections()
}

// fronts are the addresses of a run: nil where there is none.
type fronts struct{ http, admin *front }

func (f fronts) each(do func(*front)) {
	for _, one := range []*front{f.http, f.admin} {
		if one != nil {
			do(one)
		}
	}
}

// hold lets no request through to the program any more.
func (f fronts) hold() { f.each(func(one *front) { one.gate.hold() }) }

func (f fronts) refuse(err error) { f.each(func(one *front) { one.gate.refuse(err) }) }

// open lets requests through to a program.
func (f fronts) open(a flow.Addresses) {
	if f.http != nil {
		f.http.gate.open(a.HTTP)
	}
	if f.admin != nil {
		f.admin.gate.open(a.Admin)
	}
}
