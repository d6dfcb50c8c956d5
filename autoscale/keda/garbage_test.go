package keda

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// What answers under a name and is no process of the flow, or does not answer, is told
// and counted as a process of which nothing is known.
func TestPeersThatAreNone(t *testing.T) {
	answers := map[string]http.HandlerFunc{
		"/page":    func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>welcome</html>") },
		"/empty":   func(http.ResponseWriter, *http.Request) {},
		"/null":    func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "null") },
		"/types":   func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"flow":"shop","processors":{"bill":1}}`) },
		"/endless": func(w http.ResponseWriter, r *http.Request) { endless(w, r) },
		"/cut": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "99")
			fmt.Fprint(w, `{"flow":"shop"`)
		},
		"/slow": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	}
	p := &Peers{Client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
	names := map[string]string{}
	for name, answer := range answers {
		server := httptest.NewServer(answer)
		defer server.Close()
		address := strings.TrimPrefix(server.URL, "http://")
		p.Addresses = append(p.Addresses, address)
		names[address] = name
	}
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and reads nothing
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	p.Addresses = append(p.Addresses, silent.Addr().String())
	names[silent.Addr().String()] = "silent"

	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	found, err := p.look(ctx, "shop")
	if err != nil || len(found) != len(names) {
		t.Fatalf("%d of %d, %v", len(found), len(names), err)
	}
	for _, f := range found {
		if f.err == nil {
			t.Errorf("%s is taken for a process: %+v", names[f.address], f.state)
		}
	}
	bill := asked(4)
	if l := lookAt(time.Now(), &bill, Standing{}, nil, everyone{asked: true, peers: found}); l.err == nil || !strings.Contains(l.err.Error(), "no process answers") {
		t.Errorf("%+v", l)
	}
}

// endless is JSON that never ends.
func endless(w http.ResponseWriter, r *http.Request) {
	fmt.Fprint(w, `{"flow":"`)
	filler := strings.Repeat("x", 1<<16)
	for r.Context().Err() == nil {
		if _, err := fmt.Fprint(w, filler); err != nil {
			return
		}
	}
}
