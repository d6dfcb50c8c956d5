package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/flowkit-go/flow"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A service is the flow while it runs, with a folder and ports of its own.
type service struct {
	t      *testing.T
	app    *flow.Flow
	url    string
	client *http.Client
	stop   func()
}

func start(t *testing.T, folder string) *service {
	t.Setenv("FLOW_DATA", folder)
	t.Setenv("FLOW_HTTP", "127.0.0.1:0")
	t.Setenv("FLOW_ADMIN", "off")
	ready := make(chan flow.Addresses, 1)
	table := quakes.Reader()
	s := &service{t: t, client: &http.Client{Transport: &http.Transport{}, Timeout: 10 * time.Second}}
	s.app = newApp(table, flow.OnReady(func(a flow.Addresses) { ready <- a }), flow.Logger(slog.New(slog.DiscardHandler)))

	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.app.Run(ctx) }()
	select {
	case a := <-ready:
		s.url = "http://" + a.HTTP
	case err := <-ended:
		t.Fatalf("the flow did not start: %v", err)
	}
	s.stop = func() {
		s.client.CloseIdleConnections()
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the flow ended with %v", err)
		}
		if err := table.Close(); err != nil {
			t.Error(err)
		}
	}
	return s
}

// do sends a request and returns the status; the answer is decoded into out.
func (s *service) do(method, path, body string, out any) int {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := s.client.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := json.Unmarshal(raw, out); err != nil {
		s.t.Fatalf("%s %s: %d %s: %v", method, path, resp.StatusCode, raw, err)
	}
	return resp.StatusCode
}

// until asks again until the answer is right: what is in the queue needs a moment
// to reach the table.
func (s *service) until(what string, right func() bool) {
	s.t.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !right() {
		select {
		case <-tick.C:
		case <-deadline:
			s.t.Fatalf("not within 30 s: %s", what)
		}
	}
}

func (s *service) total() (n int) {
	s.t.Helper()
	var days []day
	s.do("GET", "/days", "", &days)
	for _, d := range days {
		n += d.Quakes
	}
	return n
}

// TestQuakes compares the answers with what plain JSON says about the archive.
func TestQuakes(t *testing.T) {
	perDay := map[string]int{}
	strong := map[string]float64{} // 5 and more, by id
	strongest := ""
	for id, line := range archived(t) {
		var f map[string]any
		if err := json.Unmarshal(line, &f); err != nil {
			t.Fatal(err)
		}
		p := f["properties"].(map[string]any)
		perDay[time.Unix(int64(p["time"].(float64))/1000, 0).UTC().Format("2006-01-02")]++
		if m := p["mag"].(float64); m >= 5 {
			strong[id] = m
			if strongest == "" || m > strong[strongest] {
				strongest = id
			}
		}
	}

	s := start(t, t.TempDir())
	defer s.stop()
	s.until("all features in the table", func() bool { return s.total() == 1707 })

	var days []day
	s.do("GET", "/days", "", &days)
	got := map[string]int{}
	for _, d := range days {
		got[d.Day] = d.Quakes
	}
	if d := cmp.Diff(perDay, got); d != "" {
		t.Errorf("quakes per day: %s", d)
	}

	var list []Quake
	s.do("GET", "/quakes?min_magnitude=5&limit=255", "", &list)
	found := map[string]float64{}
	for i, q := range list {
		found[q.ID] = *q.Magnitude
		if i > 0 && *q.Magnitude > *list[i-1].Magnitude {
			t.Errorf("%s is listed behind a weaker one", q.ID)
		}
	}
	if d := cmp.Diff(strong, found); d != "" {
		t.Errorf("quakes of 5 and more: %s", d)
	}
	if list[0].ID != strongest {
		t.Errorf("the strongest is %s, want %s", list[0].ID, strongest)
	}
	s.do("GET", "/quakes", "", &list)
	if len(list) != 20 {
		t.Errorf("%d quakes are listed by default, want 20", len(list))
	}
	var one Quake
	if status := s.do("GET", "/quakes/"+strongest, "", &one); status != http.StatusOK {
		t.Errorf("the strongest by its id: %d", status)
	}
	if d := cmp.Diff(list[0], one); d != "" {
		t.Errorf("in the list and by id: %s", d)
	}
}

func TestCollected(t *testing.T) {
	s := start(t, t.TempDir())
	defer s.stop()
	feature := `{"type":"Feature","id":"new","properties":{"mag":%s,"place":"here","time":1517363399650},"geometry":{"coordinates":[1,2,3]}}`
	post := func(magnitude string) {
		t.Helper()
		var answer struct{ Success bool }
		if status := s.do("POST", "/quakes", fmt.Sprintf(feature, magnitude), &answer); status != http.StatusOK || !answer.Success {
			t.Fatalf("POST: %d %+v", status, answer)
		}
	}
	var q Quake
	post("null")
	s.until("the new one in the table", func() bool { return s.do("GET", "/quakes/new", "", &q) == http.StatusOK })
	if q.Class != "unknown" || q.Magnitude != nil {
		t.Errorf("without a magnitude it is %+v", q)
	}
	post("9.1") // as USGS does once it is known
	s.until("its magnitude in the table", func() bool {
		s.do("GET", "/quakes/new", "", &q)
		return q.Magnitude != nil
	})
	magnitude := 9.1
	want := Quake{"new", &magnitude, "great", "", "here", time.Date(2018, 1, 31, 1, 49, 59, 650e6, time.UTC), 1, 2, 3}
	if d := cmp.Diff(want, q); d != "" {
		t.Error(d)
	}
}

func TestBadRequests(t *testing.T) {
	s := start(t, t.TempDir())
	defer s.stop()
	for _, c := range []struct {
		method, path, body string
		status             int
		field              string // named by the answer
	}{
		{"POST", "/quakes", `{"id":"x","properties":{"mag":"big","time":1}}`, 422, "properties.mag"},
		{"POST", "/quakes", `{"id":7,"properties":{"mag":1,"time":1}}`, 422, "id"},
		{"POST", "/quakes", `{"id":"x","properties":{"time":1},"geometry":{"coordinates":[1,2,"deep"]}}`, 422, "geometry.coordinates.2"},
		{"POST", "/quakes", `{"properties":{"mag":1,"time":1}}`, 422, "id"},
		{"POST", "/quakes", `{"id":"x","properties":{"mag":1}}`, 422, "properties.time"},
		{"POST", "/quakes", `{"id":`, 400, ""},
		{"GET", "/quakes?min_magnitude=big", "", 422, "min_magnitude"},
		{"GET", "/quakes?limit=-1", "", 422, "limit"},
		{"GET", "/quakes?limit=256", "", 422, "limit"},
		{"GET", "/quakes/nowhere", "", 404, "nowhere"},
	} {
		var problem struct {
			Detail string
			Errors []struct{ Field string }
		}
		if status := s.do(c.method, c.path, c.body, &problem); status != c.status {
			t.Errorf("%s %s %s: status %d, want %d", c.method, c.path, c.body, status, c.status)
		}
		if !strings.Contains(problem.Detail, c.field) || len(problem.Errors) > 0 && problem.Errors[0].Field != c.field {
			t.Errorf("%s %s %s: answer %+v does not name %s", c.method, c.path, c.body, problem, c.field)
		}
	}
}

// TestSecondRun shows that the archive is read once and rows stay.
func TestSecondRun(t *testing.T) {
	folder := t.TempDir()
	s := start(t, folder)
	s.until("all features in the table", func() bool { return s.total() == 1707 })
	s.stop()

	s = start(t, folder)
	if n := s.total(); n != 1707 {
		t.Errorf("%d quakes at the second start, want 1707", n)
	}
	s.stop()
	for _, p := range s.app.Snapshot().Processors {
		if p.Kind == string(flow.KindConsumer) && p.Messages.OK != 0 {
			t.Errorf("%s has handled %d records again", p.Name, p.Messages.OK)
		}
	}
}
