package registry

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/sr/srfake"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is a registry that counts what it is asked and can be made to fail.
type server struct {
	*srfake.Registry
	URL string

	mu     sync.Mutex
	asked  map[string]int // by method and path
	status int            // answered to everything when not 0
}

func newServer(t *testing.T, opts ...srfake.Option) *server {
	t.Helper()
	s := &server{Registry: srfake.NewRegistry(opts...), asked: map[string]int{}}
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.asked[r.Method+" "+r.URL.Path]++
		status := s.status
		s.mu.Unlock()
		if status != 0 {
			http.Error(w, `{"error_code":`+"50001"+`,"message":"out of order"}`, status)
			return
		}
		s.Handler().ServeHTTP(w, r)
	}))
	t.Cleanup(web.Close)
	s.URL = web.URL
	return s
}

func (s *server) fail(status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status = status
}

// times is how often a request was made whose method and path begin so.
func (s *server) times(prefix string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for request, times := range s.asked {
		if strings.HasPrefix(request, prefix) {
			n += times
		}
	}
	return n
}
