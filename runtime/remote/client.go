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
	"strings"
	"time"
)

// client asks the admin address of a running flow.
type client struct {
	base string
	http *http.Client
}

// dialTimeout is for reaching the address; the answer may take as long as a Setup does.
const dialTimeout = 5 * time.Second

// newClient takes an address as flow.AdminAddr has it, or with http:// before it.
func newClient(addr string) (*client, error) {
	addr = strings.TrimSuffix(strings.TrimPrefix(addr, "http://"), "/")
	if addr == "off" {
		return nil, errors.New("the admin address is off: give --admin, or run the flow with one")
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil || port == "" || port == "0" {
		return nil, fmt.Errorf("admin address %q: want host:port, as 127.0.0.1:9650", addr)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost" // what listens everywhere is reached here too
	}
	return &client{
		base: "http://" + net.JoinHostPort(host, port),
		http: &http.Client{Transport: &http.Transport{DialContext: (&net.Dialer{Timeout: dialTimeout}).DialContext, DisableKeepAlives: true}},
	}, nil
}

// refusedError is what the flow answers to a mistake.
type refusedError struct{ error }

// ask sends a request and decodes its answer. It returns the answer's text too.
func (c *client) ask(ctx context.Context, method, path string, q url.Values, to any) (string, error) {
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
	if err := json.Unmarshal(body, to); err != nil {
		return "", fmt.Errorf("what answers at %s is no flow: %w", c.base, err)
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
