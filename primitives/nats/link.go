package nats

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/flowkit-go/flow/primitives"
)

const (
	urlVar         = "NATS_URL"
	credentialsVar = "NATS_CREDS"

	// handshakeTimeout bounds the dial and the login at one server.
	handshakeTimeout = 5 * time.Second
)

// link is one connection to a server. Each Reader and each Writer has its own,
// so that neither waits for the bytes of another.
type link struct {
	nc    *natsgo.Conn
	js    jetstream.JetStream
	where string // for errors: the addresses without passwords, or the folder

	// local says that the server is the embedded one: a single server, which
	// handles what one connection sends in order.
	local  bool
	server *embedded

	release func() error // of the embedded server
	closed  chan struct{}

	mu       sync.Mutex
	up, down chan struct{} // closed while connected; closed while not
}

func openLink(ctx context.Context, c *config, env *primitives.Env) (*link, error) {
	l := &link{release: func() error { return nil }, closed: make(chan struct{}), up: make(chan struct{}), down: make(chan struct{})}
	close(l.up)

	opts := natsgo.GetDefaultOptions()
	opts.Name = env.Flow + "." + env.Processor
	opts.Timeout = handshakeTimeout
	opts.MaxReconnect = -1
	opts.ReconnectWait = 250 * time.Millisecond
	// What is written while there is no connection fails at once, and so is not
	// sent twice: once from a buffer, and once by the runtime's retry.
	opts.ReconnectBufSize = -1
	opts.IgnoreAuthErrorAbort = true

	target := c.url
	if target == "" {
		target = os.Getenv(urlVar)
	}
	if target == "" {
		srv, release, err := shareServer(c, env)
		if err != nil {
			return nil, err
		}
		l.local, l.server, l.release, l.where = true, srv, release, srv.dir
		opts.InProcessServer = srv
	} else {
		l.where = redact(target)
		for server := range strings.SplitSeq(target, ",") {
			opts.Servers = append(opts.Servers, strings.TrimSpace(server))
		}
		d := &dialer{}
		d.ctx.Store(&ctx)
		defer d.ctx.Store(nil)
		opts.CustomDialer = d
		if err := authenticate(c, &opts); err != nil {
			return nil, err
		}
	}
	for _, apply := range c.options {
		if err := apply(&opts); err != nil {
			return nil, errors.Join(fmt.Errorf("nats: Options of stream %s: %w", c.name, err), l.release())
		}
	}
	l.watch(&opts)

	var err error
	if l.nc, err = opts.Connect(); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, errors.Join(fmt.Errorf("nats: stream %s: connect to %s: %w: check URL or %s, and that the server runs", c.name, l.where, err, urlVar), l.release())
	}
	if c.domain != "" {
		l.js, err = jetstream.NewWithDomain(l.nc, c.domain)
	} else {
		l.js, err = jetstream.New(l.nc)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("nats: stream %s: %w", c.name, err), l.close())
	}
	return l, nil
}

// authenticate applies the fields that log in and secure the connection.
func authenticate(c *config, opts *natsgo.Options) error {
	var apply []natsgo.Option
	credentials := c.credentials
	if credentials == "" && c.nkeyFile == "" {
		credentials = os.Getenv(credentialsVar)
	}
	if credentials != "" {
		apply = append(apply, natsgo.UserCredentials(credentials))
	}
	if c.nkeyFile != "" {
		nkey, err := natsgo.NkeyOptionFromSeed(c.nkeyFile)
		if err != nil {
			return fmt.Errorf("nats: stream %s: NKeyFile %s: %w", c.name, c.nkeyFile, err)
		}
		apply = append(apply, nkey)
	}
	if c.user != "" {
		apply = append(apply, natsgo.UserInfo(c.user, c.password))
	}
	if c.token != "" {
		apply = append(apply, natsgo.Token(c.token))
	}
	if c.tls != nil {
		apply = append(apply, natsgo.Secure(c.tls))
	}
	if c.caFile != "" {
		apply = append(apply, natsgo.RootCAs(c.caFile))
	}
	if c.certFile != "" {
		apply = append(apply, natsgo.ClientCert(c.certFile, c.keyFile))
	}
	for _, o := range apply {
		if err := o(opts); err != nil {
			return fmt.Errorf("nats: stream %s: %w", c.name, err)
		}
	}
	return nil
}

// watch keeps up, down and closed, and calls the user's own handlers too.
func (l *link) watch(opts *natsgo.Options) {
	lost, back, closed := opts.DisconnectedErrCB, opts.ReconnectedCB, opts.ClosedCB
	opts.DisconnectedErrCB = func(nc *natsgo.Conn, err error) {
		l.mu.Lock()
		close(l.down)
		l.up = make(chan struct{})
		l.mu.Unlock()
		if lost != nil {
			lost(nc, err)
		}
	}
	opts.ReconnectedCB = func(nc *natsgo.Conn) {
		l.mu.Lock()
		close(l.up)
		l.down = make(chan struct{})
		l.mu.Unlock()
		if back != nil {
			back(nc)
		}
	}
	opts.ClosedCB = func(nc *natsgo.Conn) {
		if closed != nil {
			closed(nc)
		}
		close(l.closed)
	}
	if opts.AsyncErrorCB == nil {
		opts.AsyncErrorCB = func(*natsgo.Conn, *natsgo.Subscription, error) {} // the default prints to stderr
	}
}

// connected and disconnected are closed while the connection is in that state.
func (l *link) connected() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.up
}

func (l *link) disconnected() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.down
}

// close ends the connection and waits until its callbacks have ended.
func (l *link) close() error {
	l.nc.Close()
	<-l.closed
	return l.release()
}

// dialer obeys the context of OpenSource or OpenSink until that has returned.
type dialer struct {
	ctx atomic.Pointer[context.Context]
}

func (d *dialer) Dial(network, address string) (net.Conn, error) {
	ctx := context.Background()
	if opening := d.ctx.Load(); opening != nil {
		ctx = *opening
	}
	return (&net.Dialer{Timeout: handshakeTimeout}).DialContext(ctx, network, address)
}

// redact takes user, password and token out of a list of addresses.
func redact(target string) string {
	var out []string
	for server := range strings.SplitSeq(target, ",") {
		server = strings.TrimSpace(server)
		if u, err := url.Parse(server); err == nil && u.User != nil {
			u.User = nil
			server = u.String()
		} else if at := strings.LastIndexByte(server, '@'); at >= 0 {
			server = server[at+1:]
		}
		out = append(out, server)
	}
	return strings.Join(out, ", ")
}
