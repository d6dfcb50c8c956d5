package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// client asks the admin address of a running flow.
type client struct {
	base    string
	timeout time.Duration // of an answer; 0 none
	http    *http.Client
}

// dialTimeout is for reaching the address. The answer of a change may take as long as a
// Setup does, so that it has a time of its own.
const dialTimeout = 5 * time.Second

// newClient takes an address as flow.AdminAddr has it, or with http:// before it. An
// answer may take as long as timeout; 0 is for ever.
func newClient(addr string, timeout time.Duration) (*client, error) {
	addr = strings.TrimSuffix(strings.TrimPrefix(addr, "http://"), "/")
	if addr == "off" {
		return nil, errors.New("the admin address is off: give --admin, or run the flow with one")
	}
	host, port, err := net.SplitHostPort(addr)
	if n, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil || n == 0 || strings.ContainsAny(host, "/?#@ ") {
		return nil, fmt.Errorf("admin address %q: want host:port, as 127.0.0.1:9650", addr)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost" // what listens everywhere is reached here too
	}
	return &client{
		base: "http://" + net.JoinHostPort(host, port), timeout: timeout,
		http: &http.Client{
			Transport:     &http.Transport{DialContext: (&net.Dialer{Timeout: dialTimeout}).DialContext, DisableKeepAlives: true},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // no flow sends on
		},
	}, nil
}

// refusedError is what the flow answers to a mistake.
type refusedError struct{ error }

// errNoAnswer is why the context of a request ends when the time for it is over.
var errNoAnswer = errors.New("no answer")

// ask sends a request and decodes its answer, which must be whole: known reports whether
// it is a flow's. It returns the answer's text too.
func (c *client) ask(ctx context.Context, method, path string, q url.Values, to any, known func() bool) (string, error) {
	if c.timeout > 0 {
		var done context.CancelFunc
		ctx, done = context.WithTimeoutCause(ctx, c.timeout, errNoAnswer)
		defer done()
	}
	text, err := c.exchange(ctx, method, path, q)
	if err != nil && errors.Is(context.Cause(ctx), errNoAnswer) {
		err = fmt.Errorf("%s has not answered within %v: is this the admin address of a flow?", c.base, c.timeout)
		if method != http.MethodGet {
			err = fmt.Errorf("%w if it is, as where a Setup takes long, it may still come into effect: look with scale, or wait longer with --timeout", err)
		}
	}
	if err != nil {
		return "", err
	}
	if err := json.Unmarshal([]byte(text), to); err != nil {
		return "", fmt.Errorf("what answers at %s is no flow: %w", c.base, err)
	}
	if !known() {
		return "", fmt.Errorf("what answers at %s is no flow: its answer to %s %s is another one", c.base, method, path)
	}
	return text, nil
}

// exchange sends a request and reads its answer.
func (c *client) exchange(ctx context.Context, method, path string, q url.Values) (string, error) {
	target := c.base + path
	if len(q) > 0 {
		target += "?" + q.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, target, nil)
	if err != nil {
		return "", err
	}
	res, err := c.http.Do(req)
	if err != nil {
		return "", fmt.Errorf("no flow answers at %s: %w: is it running, and is this its admin address? give another with --admin or FLOW_ADMIN", c.base, cause(err))
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, 64<<20))
	if err != nil {
		return "", fmt.Errorf("the answer of %s broke off: %w", c.base, err)
	}
	if res.StatusCode != http.StatusOK {
		return "", refusal(res.StatusCode, body)
	}
	return string(body), nil
}

// cause takes the URL out of an error, which is told already.
func cause(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// refusal makes an error of an answer: of the flow's own form, of a problem document by
// flow run, or of anything else.
func refusal(status int, body []byte) error {
	var answer struct{ Error, Detail string }
	_ = json.Unmarshal(body, &answer)
	text := answer.Error
	if text == "" {
		text = answer.Detail
	}
	if text == "" {
		text = fmt.Sprintf("the admin address answered with %d %s: is the flow of a version without this command?", status, http.StatusText(status))
	}
	if status >= 400 && status < 500 {
		return refusedError{errors.New(text)}
	}
	return errors.New(text)
}
