package runtime

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/flowkit-go/flow/autoscale"
	"github.com/flowkit-go/flow/primitives"
)

// controls adds what changes a running flow to the admin address. Answers are JSON,
// errors {"error": "..."}. Who reaches the address may use them: it has no
// authentication, and listens on the loopback by default. Pages of other sites in a
// browser on this machine reach it too, and are refused.
func (e *Engine) controls(mux *http.ServeMux) {
	change := func(path string, do func(*http.Request, query) (any, error)) {
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
			err := notForBrowsers(r)
			var answer any
			if err == nil {
				answer, err = e.ask(r, do)
			}
			answerJSON(w, answer, err)
		})
	}
	change("/scale", e.askScale)
	change("/pause", func(_ *http.Request, q query) (any, error) { return e.askPause(q, true) })
	change("/resume", func(_ *http.Request, q query) (any, error) { return e.askPause(q, false) })
	mux.HandleFunc("GET /decisions", func(w http.ResponseWriter, r *http.Request) {
		answer, err := e.ask(r, e.askDecisions)
		answerJSON(w, answer, err)
	})
}

// A Scaled is the answer of /scale.
type Scaled struct {
	Processor string           `json:"processor"`
	From      int              `json:"from"`
	Replicas  int              `json:"replicas"`
	Autoscale autoscale.Status `json:"autoscale"`
}

// A Paused is the answer of /pause and /resume.
type Paused struct {
	Processor  string   `json:"processor"`
	Paused     bool     `json:"paused"`
	Partitions []string `json:"partitions,omitempty"` // those that were named, as orders/3; none: all
}

// Decided is the answer of /decisions.
type Decided struct {
	Processor string               `json:"processor"`
	Decisions []autoscale.Decision `json:"decisions"` // the newest last
}

func (e *Engine) askScale(r *http.Request, q query) (any, error) {
	c, err := q.change()
	if err != nil {
		return nil, err
	}
	if c == (autoscale.Change{}) {
		return nil, badRequest("nothing is asked for: want replicas=N or auto, or min and max")
	}
	pool, err := e.Pool(q.processor)
	if err != nil {
		return nil, err
	}
	have := pool.Replicas()
	status, err := e.Scale(r.Context(), q.processor, c)
	if err != nil {
		return nil, err
	}
	return Scaled{q.processor, have, pool.Replicas(), status}, nil
}

func (e *Engine) askPause(q query, on bool) (any, error) {
	c, err := e.consumer(q.processor)
	if err != nil {
		return nil, err
	}
	partitions, err := c.named(q.values.Get("topic"), q.values["partition"])
	if err != nil {
		return nil, err
	}
	if err := e.Pause(q.processor, on, partitions...); err != nil {
		return nil, err
	}
	answer := Paused{Processor: q.processor, Paused: on}
	for _, p := range partitions {
		answer.Partitions = append(answer.Partitions, p.String())
	}
	return answer, nil
}

// named returns the partitions of this process that a topic and numbers name: none of
// either is all of them, as no partitions.
func (c *consumer) named(topic string, ids []string) ([]primitives.Partition, error) {
	if topic == "" && len(ids) == 0 {
		return nil, nil
	}
	var topics []string
	var held []primitives.Partition
	for _, l := range c.allLanes() {
		if topic == "" || l.part.Topic == topic {
			held = append(held, l.part)
		}
		if !slices.Contains(topics, l.part.Topic) {
			topics = append(topics, l.part.Topic)
		}
	}
	slices.SortFunc(held, func(a, b primitives.Partition) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.ID, b.ID))
	})
	if len(ids) == 0 {
		if len(held) == 0 {
			return nil, notHeld("this process holds no partition of topic %q", topic)
		}
		return held, nil
	}
	if topic == "" && len(topics) > 1 {
		slices.Sort(topics)
		return nil, badRequest("a partition is named without its topic: add topic, one of %s", strings.Join(topics, ", "))
	}
	var found []primitives.Partition
	for _, v := range ids {
		id, err := strconv.ParseInt(v, 10, 32)
		if err != nil {
			return nil, badRequest("partition=%q: want a number", v)
		}
		i := slices.IndexFunc(held, func(p primitives.Partition) bool { return p.ID == int32(id) })
		if i < 0 {
			return nil, notHeld("this process does not hold partition %d: see lanes in /state", id)
		}
		found = append(found, held[i])
	}
	return found, nil
}

func (e *Engine) askDecisions(_ *http.Request, q query) (any, error) {
	d, err := e.Decisions(q.processor)
	if err != nil {
		return nil, err
	}
	return Decided{q.processor, d}, nil
}

// query is what a request asks for.
type query struct {
	processor string
	values    url.Values
}

// parameters are those that each path knows.
var parameters = map[string][]string{
	"/scale":     {"processor", "replicas", "for", "min", "max"},
	"/pause":     {"processor", "topic", "partition"},
	"/resume":    {"processor", "topic", "partition"},
	"/decisions": {"processor"},
}

// ask calls do with the query of a request that names a processor.
func (e *Engine) ask(r *http.Request, do func(*http.Request, query) (any, error)) (any, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, badRequest("the query cannot be read: %v", err)
	}
	if r.ContentLength != 0 { // what it says would be left out without a word
		return nil, badRequest("%s has a body: give all parameters in the query, as %s?processor=NAME", r.Method, r.URL.Path)
	}
	known := parameters[r.URL.Path]
	for name, all := range values {
		if !slices.Contains(known, name) {
			return nil, badRequest("%q is not a parameter of %s: want %s", name, r.URL.Path, strings.Join(known, ", "))
		}
		if len(all) > 1 && name != "partition" {
			return nil, badRequest("%s is given %d times", name, len(all))
		}
		if name != "processor" && slices.Contains(all, "") { // as of a variable that is not set: it does not mean all, or for good
			return nil, badRequest("%s is empty: give it a value or leave it out", name)
		}
	}
	q := query{values.Get("processor"), values}
	if q.processor == "" {
		return nil, badRequest("processor is missing: want one of %s", strings.Join(e.names(), ", "))
	}
	return do(r, q)
}

func (e *Engine) names() []string {
	var all []string
	for _, p := range e.Snapshot().Processors {
		all = append(all, p.Name)
	}
	return all
}

// change reads the parameters of /scale.
func (q query) change() (c autoscale.Change, err error) {
	number := func(name string, to *int) {
		v := q.values.Get(name)
		if v == "" || err != nil {
			return
		}
		n, bad := strconv.Atoi(v)
		if bad != nil || n < 1 {
			err = badRequest("%s=%q: want a whole number, at least 1", name, v)
			return
		}
		*to = n
	}
	if v := q.values.Get("replicas"); v == "auto" {
		c.Auto = true
	} else if n, bad := strconv.Atoi(v); bad == nil && n == 0 {
		return c, badRequest("replicas=0: want at least 1; to start no further record, pause the processor")
	} else {
		number("replicas", &c.Replicas)
	}
	number("min", &c.Min)
	number("max", &c.Max)
	if v := q.values.Get("for"); v != "" && err == nil {
		if c.For, err = time.ParseDuration(v); err != nil || c.For <= 0 {
			err = badRequest(`for=%q: want a duration with its unit, as "10m", more than 0`, v)
		}
	}
	return c, err
}

// notForBrowsers refuses requests that a page of another site makes a browser send. A
// name that a site points at this address makes the page look as if it were of the same
// site: what comes from a browser has to be addressed by number, or to localhost.
func notForBrowsers(r *http.Request) error {
	if err := http.NewCrossOriginProtection().Check(r); err != nil {
		return statusError{http.StatusForbidden, err}
	}
	if r.Header.Get("Sec-Fetch-Site") == "" && r.Header.Get("Origin") == "" {
		return nil // no browser
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if host == "localhost" || net.ParseIP(strings.Trim(host, "[]")) != nil {
		return nil
	}
	return statusError{http.StatusForbidden, fmt.Errorf("a browser asks for host %q: use localhost or an address", r.Host)}
}

// statusError answers with a status.
type statusError struct {
	status int
	error
}

func (e statusError) Unwrap() error { return e.error }

func badRequest(format string, args ...any) error {
	return statusError{http.StatusBadRequest, fmt.Errorf(format, args...)}
}

func notHeld(format string, args ...any) error {
	return statusError{http.StatusConflict, fmt.Errorf(format, args...)}
}

// statusOf decides how an error is answered.
func statusOf(err error) int {
	var own statusError
	var state stateError
	switch {
	case errors.As(err, &own):
		return own.status
	case errors.As(err, &state):
		return http.StatusServiceUnavailable
	case errors.As(err, new(unknownError)), errors.Is(err, autoscale.ErrUnknownProcessor):
		return http.StatusNotFound
	case errors.Is(err, autoscale.ErrRefused), errors.Is(err, primitives.ErrNotAssigned):
		return http.StatusConflict
	}
	return http.StatusInternalServerError
}

func answerJSON(w http.ResponseWriter, answer any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		w.WriteHeader(statusOf(err))
		answer = map[string]string{"error": err.Error()}
	}
	out := json.NewEncoder(w)
	out.SetEscapeHTML(false)
	out.SetIndent("", "  ")
	_ = out.Encode(answer)
}
