package flow

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"regexp"
	"strings"
	"testing"

	"github.com/flowkit-go/flow/autoscale"
	"github.com/flowkit-go/flow/primitives/memory"
)

// controlled runs a flow with an admin address, and returns a function that executes
// commands in another program of the same flow.
func controlled(t *testing.T) (admin string, command func(args ...string) (code int, stdout, stderr string)) {
	t.Helper()
	t.Setenv("FLOW_ADMIN", "")
	broker := memory.NewBroker()
	program := func(admin string) *Flow {
		app := New("shop", HTTPAddr("off"), AdminAddr(admin), Logger(slog.New(slog.DiscardHandler)))
		Consumer(app, "bill", memory.Topic[string]{Broker: broker, Name: "orders"}, Discard,
			Do(func(context.Context, string) error { return nil }), Replicas(1, 8))
		Consumer(app, "audit", memory.Topic[string]{Broker: broker, Name: "orders", Group: "audit"}, Discard,
			Do(func(context.Context, string) error { return nil }))
		return app
	}
	app := program("127.0.0.1:0")
	ctx, stop := context.WithCancel(t.Context())
	ready, ended := make(chan Addresses, 1), make(chan error, 1)
	app.AddReady(func(a Addresses) { ready <- a })
	go func() { ended <- app.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	select {
	case a := <-ready:
		admin = a.Admin
	case err := <-ended:
		ended <- nil
		t.Fatal(err)
	}
	return admin, func(args ...string) (int, string, string) {
		var stdout, stderr bytes.Buffer
		code := program(admin).execute(t.Context(), args, io.LimitReader(nil, 0), &stdout, &stderr)
		return code, stdout.String(), stderr.String()
	}
}

func TestScaleCommand(t *testing.T) {
	_, command := controlled(t)
	for _, tc := range []struct {
		args   string
		code   int
		prints string // a pattern
	}{
		{"scale", 0, `^bill   1 replicas  auto, 1 to 8 +\naudit  1 replicas  does not scale, bounds 1 to 1 +\n$`},
		{"scale bill 4 --for 10m", 0, `^bill  scaled 1 -> 4, fixed until \d\d:\d\d:\d\d, bounds 1 to 8\n$`},
		{"scale bill 3", 0, `^bill  scaled 4 -> 3, fixed, bounds 1 to 8\n$`},
		{"scale bill auto", 0, `^bill  scaled 3 -> 3, auto, 1 to 8\n$`},
		{"scale bill --min 2 --max 32", 0, `^bill  scaled 3 -> 3, auto, 2 to 32\n$`},
		{"scale audit 2 --max 2", 0, `^audit  scaled 1 -> 2, fixed, bounds 1 to 2\n$`},
		{"scale bill", 0, `^bill  3 replicas  auto, 2 to 32  \d\d:\d\d:\d\d bounds are 2 to 32: 3 -> 3\n$`},
		{"scale bill 33", 2, `^error: refused: bill: 33 replicas are outside of the bounds 2 to 32: give other bounds with it\n$`},
		{"scale bill many", 2, `^error: "many" replicas: want a whole number, at least 1, or auto\n$`},
		{"scale bill 2 3", 2, `^error: shop scale takes a processor, and a number of replicas or auto: see shop scale --help\n$`},
		{"scale nobody 2", 2, `^error: there is no processor "nobody"\n$`},
		{"scale nobody", 2, `^error: there is no processor "nobody"\n$`},
		{"scale --max 4", 2, `^error: no processor is named`},
		{"scale bill 2 --for soon", 2, `^error: invalid argument "soon"`},
		{"pause bill", 0, `^bill  paused\n$`},
		{"resume bill", 0, `^bill  goes on\n$`},
		{"pause bill --partition 0", 0, `^bill  orders/0  paused\n$`},
		{"resume bill --topic orders --partition 0", 0, `^bill  orders/0  goes on\n$`},
		{"pause bill --partition 9", 2, `^error: this process does not hold partition 9: see lanes in /state\n$`},
		{"pause", 2, `^error: shop pause takes a consumer: see shop pause --help\n$`},
		{"pause nobody", 2, `^error: there is no consumer "nobody"\n$`},
		{"scale --admin off", 2, `^error: the admin address is off: give --admin`},
		{"scale --admin here", 2, `^error: admin address "here": want host:port`},
		{"scale --admin 127.0.0.1:1", 1, `^error: no flow answers at http://127.0.0.1:1: .*is it running`},
	} {
		code, stdout, stderr := command(strings.Fields(tc.args)...)
		if code != tc.code || !regexp.MustCompile(tc.prints).MatchString(stdout+stderr) {
			t.Errorf("%s: ended with %d and %q, want %d and %s", tc.args, code, stdout+stderr, tc.code, tc.prints)
		}
	}
}

func TestScaleCommandAsJSON(t *testing.T) {
	admin, command := controlled(t)
	t.Setenv("FLOW_ADMIN", strings.Replace(admin, "127.0.0.1", "0.0.0.0", 1)) // as the flow would have it to listen everywhere
	code, stdout, stderr := command("scale", "bill", "4", "--json")
	var scaled struct {
		Replicas  int
		Autoscale autoscale.Status
	}
	if err := json.Unmarshal([]byte(stdout), &scaled); err != nil || code != 0 || scaled.Replicas != 4 || scaled.Autoscale.Mode != autoscale.Fixed {
		t.Errorf("%d, %v: %s%s", code, err, stdout, stderr)
	}
	code, stdout, _ = command("scale", "--json")
	var all map[string]autoscale.Status
	if err := json.Unmarshal([]byte(stdout), &all); err != nil || code != 0 || all["bill"].Mode != autoscale.Fixed || all["audit"].Mode != autoscale.Off {
		t.Errorf("%d, %v: %s", code, err, stdout)
	}
}
