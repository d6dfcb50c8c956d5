package flow_test

import (
	"context"
	"errors"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/primitives/memory"
)

type invoice struct {
	ID    string `json:"id"`
	Cents int64  `json:"cents"`
}

type invoiceQuery struct {
	ID string `path:"id"`
}

func pass[T any](_ context.Context, v T) (T, error) { return v, nil }

var (
	invoices = memory.Topic[invoice]{Name: "invoices"}
	archive  = memory.Topic[invoice]{Name: "archive"}
)

// mistakes returns the texts of a flow's registration errors, with line numbers
// replaced by N.
func mistakes(t *testing.T, app *flow.Flow) []string {
	t.Helper()
	err := app.Validate()
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		t.Fatalf("%T is not joined errors", err)
	}
	line := regexp.MustCompile(`_test\.go:\d+`)
	var texts []string
	for _, e := range joined.Unwrap() {
		var reg *flow.RegistrationError
		if !errors.As(e, &reg) {
			t.Errorf("%v is no RegistrationError", e)
		}
		texts = append(texts, line.ReplaceAllString(e.Error(), "_test.go:N"))
	}
	return texts
}

func TestEveryMistakeIsReportedAtOnce(t *testing.T) {
	app := flow.New("shop")
	flow.Consumer(app, "", invoices, archive, pass[invoice])
	flow.Consumer(app, "bill", invoices, archive, pass[invoice])
	flow.Consumer(app, "bill", invoices, archive, pass[invoice])
	flow.Consumer[invoice, invoice](app, "nothing", nil, nil, nil)
	flow.Consumer(app, "range", invoices, archive, pass[invoice],
		flow.Replicas(0, -1), flow.ConcurrentTasks(0), flow.NumCPUs(0), flow.CPUPercentTarget(101),
		flow.Retry(0, flow.Constant(time.Second)), flow.CommitEvery(0, 0), flow.Buffer(0, 0), nil)
	flow.Consumer(app, "unnamed", memory.Topic[invoice]{}, archive, pass[invoice])
	flow.Consumer(app, "batch", flow.Batches(invoices, 0, 0), flow.Each(archive), pass[[]invoice])
	flow.Endpoint(app, "/orders", pass[invoiceQuery])
	flow.Endpoint(app, "GET /orders/{name}", pass[invoiceQuery])
	flow.Endpoint(app, "GET /a/{id}", pass[invoiceQuery])
	flow.Endpoint(app, "GET /a/{id}", pass[invoiceQuery], flow.Name("again"))
	app.Add(nil)

	want := []string{
		`flow "shop": Add is given a nil processor`,
		`consumer "": the name is empty`,
		`consumer "bill": the name is already used by the consumer at`,
		`consumer "nothing": the handler is nil`,
		`consumer "nothing": the source is nil`,
		`consumer "nothing": the sink is nil: use flow.Discard for a handler without output`,
		`consumer "range": option 8 is nil`,
		`consumer "range": min_replicas is 0, want at least 1`,
		`consumer "range": max_replicas is -1, want at least min_replicas, which is 0`,
		`consumer "range": num_replicas is 0, want it from min_replicas 0 to max_replicas -1`,
		`consumer "range": consumer_cpu_percent_target is 101, want it from 0 to 100`,
		`consumer "range": num_cpus is 0, want more than 0`,
		`consumer "range": num_concurrent_tasks is 0, want at least 1`,
		`consumer "range": retry_attempts is 0, want 1 or more`,
		`consumer "range": commit_every and commit_records are both 0`,
		`consumer "range": buffer_records is 0, want at least 1`,
		`consumer "range": buffer_bytes is 0, want at least 1`,
		`consumer "unnamed": memory: Name of a Topic is empty`,
		`consumer "batch": flow.Batches: n must be at least 1`,
		`endpoint "/orders": web: pattern "/orders" has no method`,
		`endpoint "GET /orders/{name}":`,
		`endpoint "again": it takes the same requests as "GET /a/{id}" at`,
	}
	got := mistakes(t, app)
	for i, w := range want {
		if i >= len(got) {
			t.Errorf("missing: %s", w)
			continue
		}
		place, text, _ := strings.Cut(got[i], ": ")
		if !strings.HasSuffix(place, "registration_test.go:N") {
			t.Errorf("%s: has no place", got[i])
		}
		if !strings.Contains(text, w) {
			t.Errorf("mistake %d:\n got %s\nwant %s", i, text, w)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d mistakes, want %d:\n%s", len(got), len(want), strings.Join(got, "\n"))
	}
	if err := app.Run(t.Context()); err == nil || err.Error() != app.Validate().Error() {
		t.Errorf("Run: %v", err)
	}
}

func TestPlaceOfARegistration(t *testing.T) {
	app := flow.New("shop")
	app.Add(flow.NewConsumer("", invoices, archive, pass[invoice])) // line 1
	flow.Collector(app, "POST x", archive, pass[invoice])           // line 2
	app.Add(flow.NewCollector("POST y", archive, pass[invoice]))    // line 3
	app.Add(flow.NewEndpoint("GET z", pass[invoiceQuery]))          // line 4
	var lines []string
	for _, e := range app.Validate().(interface{ Unwrap() []error }).Unwrap() {
		var reg *flow.RegistrationError
		errors.As(e, &reg)
		if !strings.Contains(reg.At, "registration_test.go:") {
			t.Errorf("at %s", reg.At)
		}
		lines = append(lines, reg.At)
	}
	for i := 1; i < len(lines); i++ {
		if lines[i] <= lines[i-1] {
			t.Errorf("places %v are not those of four lines in order", lines)
		}
	}
	if len(lines) != 4 {
		t.Errorf("%d mistakes, want 4", len(lines))
	}
}

func TestProcessorOfTwoFlows(t *testing.T) {
	p := flow.NewConsumer("bill", invoices, archive, pass[invoice])
	first, second := flow.New("first"), flow.New("second")
	first.Add(p)
	second.Add(p)
	if err := second.Validate(); err == nil || !strings.Contains(err.Error(), `it was added twice, to flow "first" before`) {
		t.Errorf("error %v", err)
	}
}

func TestEmptyFlow(t *testing.T) {
	err := flow.New("").Validate()
	if err == nil || !strings.Contains(err.Error(), "the name is empty") || !strings.Contains(err.Error(), "has no processors") {
		t.Errorf("error %v", err)
	}
}

// settings returns the effective options of the first processor.
func settings(app *flow.Flow) map[string]flow.Setting {
	out := map[string]flow.Setting{}
	for _, s := range app.Graph().Processors[0].Settings {
		out[s.Option] = s
	}
	return out
}

func TestDefaultsAreThoseOfTheOptions(t *testing.T) {
	app := flow.New("shop")
	flow.Consumer(app, "bill", invoices, archive, pass[invoice])
	got := map[string]string{}
	for name, s := range settings(app) {
		if s.From != "default" {
			t.Errorf("%s comes from %s", name, s.From)
		}
		got[name] = s.Value
	}
	want := map[string]string{
		"num_cpus": "1", "num_concurrent_tasks": "1", "log_level": "INFO",
		"num_replicas": "1", "min_replicas": "1", "max_replicas": "1",
		"enable_autoscaler": "true", "autoscale_frequency_secs": "60", "autoscale_down_window_secs": "300", "autoscale_cooldown_secs": "0",
		"consumer_backlog_burn_threshold": "60", "consumer_cpu_percent_target": "25",
		"timeout": "0s", "order": "partition", "retry_attempts": "0", "retry_first": "0s", "retry_max": "0s",
		"skip_failed": "false", "skip_invalid": "false", "commit_every": "1s", "commit_records": "0",
		"commit_mode": "at_least_once", "dead_letter_max_consecutive": "0", "dead_letter_max_ratio": "0",
		"buffer_records": "4096", "buffer_bytes": "67108864", "stall_after": "5m0s",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestReplicasFollowEachOther(t *testing.T) {
	for _, tc := range []struct {
		name            string
		opts            []flow.ConsumerOption
		start, min, max string
	}{
		{"none", nil, "1", "1", "1"},
		{"start alone is the most too", []flow.ConsumerOption{flow.NumReplicas(10)}, "10", "1", "10"},
		{"least alone is the start", []flow.ConsumerOption{flow.MinReplicas(3)}, "3", "3", "3"},
		{"most alone", []flow.ConsumerOption{flow.MaxReplicas(8)}, "1", "1", "8"},
		{"both", []flow.ConsumerOption{flow.Replicas(2, 16)}, "2", "2", "16"},
		{"all", []flow.ConsumerOption{flow.Replicas(2, 16), flow.NumReplicas(4)}, "4", "2", "16"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			app := flow.New("shop")
			flow.Consumer(app, "bill", invoices, archive, pass[invoice], tc.opts...)
			if err := app.Validate(); err != nil {
				t.Fatal(err)
			}
			s := settings(app)
			got := []string{s["num_replicas"].Value, s["min_replicas"].Value, s["max_replicas"].Value}
			if diff := cmp.Diff([]string{tc.start, tc.min, tc.max}, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestEnvironmentOverrides(t *testing.T) {
	app := flow.New("shop")
	flow.Consumer(app, "bill-all", invoices, archive, pass[invoice], flow.Replicas(1, 4), flow.LogLevel(slog.LevelWarn))
	for name, value := range map[string]string{
		"FLOW_BILL_ALL_MAX_REPLICAS": "8", "FLOW_BILL_ALL_ORDER": "key", "FLOW_BILL_ALL_STALL_AFTER": "90s",
		"FLOW_BILL_ALL_AUTOSCALE_FREQUENCY_SECS": "30", "FLOW_BILL_ALL_NUM_CPUS": "0.5", "FLOW_BILL_ALL_SKIP_FAILED": "true",
	} {
		t.Setenv(name, value)
	}
	if err := app.Validate(); err != nil {
		t.Fatal(err)
	}
	got := settings(app)
	for option, want := range map[string][2]string{
		"max_replicas": {"8", "env FLOW_BILL_ALL_MAX_REPLICAS"}, "order": {"key", "env FLOW_BILL_ALL_ORDER"},
		"stall_after": {"1m30s", "env FLOW_BILL_ALL_STALL_AFTER"}, "autoscale_frequency_secs": {"30", "env FLOW_BILL_ALL_AUTOSCALE_FREQUENCY_SECS"},
		"num_cpus": {"0.5", "env FLOW_BILL_ALL_NUM_CPUS"}, "skip_failed": {"true", "env FLOW_BILL_ALL_SKIP_FAILED"},
		"buffer_bytes": {"67108864", "default"},
	} {
		if s := got[option]; s.Value != want[0] || s.From != want[1] {
			t.Errorf("%s is %s from %s, want %s from %s", option, s.Value, s.From, want[0], want[1])
		}
	}
	if s := got["log_level"]; s.Value != "WARN" || !strings.Contains(s.From, "registration_test.go:") {
		t.Errorf("log_level is %s from %s", s.Value, s.From)
	}
}

func TestEnvironmentMistakes(t *testing.T) {
	app := flow.New("shop")
	flow.Consumer(app, "bill", invoices, archive, pass[invoice])
	t.Setenv("FLOW_BILL_MAX_REPLICAS", "many")
	t.Setenv("FLOW_BILL_STALL_AFTER", "5")
	t.Setenv("FLOW_BILL_MIN_REPLICA", "2")
	t.Setenv("FLOW_DRAIN_TIMEOUT", "soon")
	err := app.Validate()
	for _, want := range []string{
		`environment variable FLOW_BILL_MAX_REPLICAS="many": want a whole number`,
		`environment variable FLOW_BILL_STALL_AFTER="5": want a duration with its unit`,
		`environment variable FLOW_BILL_MIN_REPLICA is not an option of this processor: did you mean FLOW_BILL_MIN_REPLICAS?`,
		`environment variable FLOW_DRAIN_TIMEOUT="soon": want a duration`,
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("missing %q in:\n%v", want, err)
		}
	}
}

func TestNameThatIsTaken(t *testing.T) {
	app := flow.New("shop")
	flow.Consumer(app, "log", invoices, archive, pass[invoice])
	if err := app.Validate(); err == nil || !strings.Contains(err.Error(), "the flow's own variable FLOW_LOG_LEVEL") {
		t.Errorf("error %v", err)
	}
}
