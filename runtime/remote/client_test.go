package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errUsage = errors.New("usage")

// execute runs a command line against an address.
func execute(ctx context.Context, admin string, args ...string) (string, error) {
	root := &cobra.Command{Use: "flow", SilenceErrors: true, SilenceUsage: true}
	root.AddCommand(Commands(Config{
		Admin: func(*cobra.Command) (string, error) { return admin, nil },
		Usage: func(err error) error { return fmt.Errorf("%w: %w", errUsage, err) },
	})...)
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetErr(io.Discard)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	return out.String(), err
}

// What answers and is no flow is told, and is never taken for one that has nothing.
func TestAnswersOfOthers(t *testing.T) {
	for name, answer := range map[string]func(http.ResponseWriter, *http.Request){
		"an object":         func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{}`) },
		"an array":          func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `[]`) },
		"null":              func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `null`) },
		"a page":            func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `<html>welcome</html>`) },
		"nothing":           func(http.ResponseWriter, *http.Request) {},
		"another processor": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"processor":"ship","replicas":2}`) },
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(answer))
			defer server.Close()
			admin := strings.TrimPrefix(server.URL, "http://")
			for _, args := range []string{"scale", "scale bill", "scale bill 2", "pause bill", "resume bill", "scale --json", "pause bill --json"} {
				said, err := execute(t.Context(), admin, strings.Fields(args)...)
				if err == nil || !strings.Contains(err.Error(), "is no flow") || said != "" {
					t.Errorf("%s: %q, %v, want an error that it is no flow", args, said, err)
				}
			}
		})
	}
}

// Another address than the one that was named is never asked.
func TestNoRedirect(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("asked for %s", r.URL) }))
	defer other.Close()
	server := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusTemporaryRedirect))
	defer server.Close()
	if _, err := execute(t.Context(), strings.TrimPrefix(server.URL, "http://"), "scale", "bill", "2"); err == nil || !strings.Contains(err.Error(), "307") {
		t.Errorf("%v", err)
	}
}

// An address that takes the request and does not answer ends the command with an error,
// which says what may have happened.
func TestNoAnswer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // its connections are made by the system, and nobody reads
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	for args, want := range map[string]string{
		"scale --timeout 50ms":        "has not answered within 50ms",
		"scale bill 2 --timeout 50ms": "it may still come into effect: look with scale",
		"pause bill --timeout 50ms":   "it may still come into effect",
	} {
		if _, err := execute(t.Context(), l.Addr().String(), strings.Fields(args)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", args, err, want)
		}
	}
	if _, err := execute(t.Context(), l.Addr().String(), "scale", "--timeout", "-1s"); !errors.Is(err, errUsage) {
		t.Errorf("a timeout below 0: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := execute(ctx, l.Addr().String(), "scale"); !errors.Is(err, context.Canceled) {
		t.Errorf("when it is interrupted: %v", err)
	}
}

func TestAddresses(t *testing.T) {
	for addr, base := range map[string]string{
		"127.0.0.1:9650": "http://127.0.0.1:9650", "http://shop:9650/": "http://shop:9650", ":9650": "http://localhost:9650",
		"0.0.0.0:9650": "http://localhost:9650", "[::]:9650": "http://localhost:9650", "[::1]:9650": "http://[::1]:9650",
	} {
		if c, err := newClient(addr, 0); err != nil || c.base != base {
			t.Errorf("%s: %+v, %v, want %s", addr, c, err, base)
		}
	}
	for _, addr := range []string{"", "off", "here", "shop:", "shop:0", "shop:http", "shop:9650/state", "https://shop:9650", "shop:99999", "a b:1", "shop/x:1"} {
		if c, err := newClient(addr, 0); err == nil {
			t.Errorf("%q is taken for %s", addr, c.base)
		}
	}
}

// A name that is empty, as of a variable that is not set, means no partition and not all.
func TestEmptyNames(t *testing.T) {
	for _, args := range [][]string{{"pause", "bill", "--topic", ""}, {"pause", ""}, {"scale", "", "2"}, {"scale", ""}} {
		if _, err := execute(t.Context(), "127.0.0.1:1", args...); !errors.Is(err, errUsage) {
			t.Errorf("%q: %v", args, err)
		}
	}
}
