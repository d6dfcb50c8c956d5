package main

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/primitives/memory"
)

// The flow command changes a flow that runs, which it finds by its admin address: from
// the flag, the environment or the env file.
func TestControlCommands(t *testing.T) {
	t.Setenv("FLOW_ADMIN", "") // so that it is as it was after the test
	if err := os.Unsetenv("FLOW_ADMIN"); err != nil {
		t.Fatal(err)
	}
	app := flow.New("shop", flow.HTTPAddr("off"), flow.AdminAddr("127.0.0.1:0"), flow.Logger(slog.New(slog.DiscardHandler)))
	flow.Consumer(app, "bill", memory.Topic[string]{Broker: memory.NewBroker(), Name: "orders"}, flow.Discard,
		flow.Do(func(context.Context, string) error { return nil }), flow.Replicas(1, 8))
	ctx, stop := context.WithCancel(t.Context())
	ready, ended := make(chan flow.Addresses, 1), make(chan error, 1)
	app.AddReady(func(a flow.Addresses) { ready <- a })
	go func() { ended <- app.Run(ctx) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	var admin string
	select {
	case a := <-ready:
		admin = a.Admin
	case err := <-ended:
		ended <- nil
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "env")
	if err := os.WriteFile(file, []byte("FLOW_ADMIN="+admin+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	flow := func(args ...string) (int, string) {
		var out bytes.Buffer
		code := command(args, &out, &out)
		return code, out.String()
	}
	for _, tc := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"scale", "bill", "4", "--admin", admin}, 0, "bill  scaled 1 -> 4, fixed, bounds 1 to 8\n"},
		{[]string{"scale", "bill", "auto", "--env-file", file}, 0, "bill  scaled 4 -> 4, auto, 1 to 8\n"},
		{[]string{"pause", "bill", "--admin", "http://" + admin + "/"}, 0, "bill  paused\n"},
		{[]string{"resume", "bill", "--admin", admin}, 0, "bill  goes on\n"},
		{[]string{"scale", "bill", "9", "--admin", admin}, 2, "outside of the bounds 1 to 8"},
		{[]string{"scale", "bill", "9", "--admin", "127.0.0.1:1"}, 1, "no flow answers at http://127.0.0.1:1"},
	} {
		if code, said := flow(tc.args...); code != tc.code || !strings.Contains(said, tc.says) {
			t.Errorf("%v: ended with %d and %q, want %d and %q", tc.args, code, said, tc.code, tc.says)
		}
	}
	t.Setenv("FLOW_ADMIN", admin)
	if code, said := flow("scale"); code != 0 || !strings.HasPrefix(said, "bill  4 replicas  auto, 1 to 8") {
		t.Errorf("ended with %d and %q", code, said)
	}
}
