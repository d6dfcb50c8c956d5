package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/sr"

	"github.com/flowkit-go/flow/primitives"
)

// A Server names a schema registry. The zero value is the one that the environment
// names.
type Server struct {
	// URL is where it is, as https://registry:8081; several, tried in turn, are
	// separated by commas. Default: the environment variable SCHEMA_REGISTRY_URL.
	URL string

	// User and Password are for basic authentication. Default: those in the
	// environment variable SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO, as user:password,
	// which is looked at when URL is from the environment too.
	User, Password string

	// Token is sent as a bearer token in place of User and Password.
	Token string

	// Timeout bounds one request. Default 5 s.
	Timeout time.Duration

	// HTTP is the client to use, for TLS or a proxy. Default: one that keeps no
	// connections, as there are few requests.
	HTTP *http.Client
}

// Environment variables that name the registry.
const (
	envURL  = "SCHEMA_REGISTRY_URL"
	envUser = "SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO"
)

// defaultTimeout is that of one request.
const defaultTimeout = 5 * time.Second

// session is a Server with everything settled.
type session struct {
	client  *sr.Client
	at      string // where the registry is, without a password
	timeout time.Duration
}

// open makes the client. It does no I/O.
func (s Server) open() (*session, error) {
	if s.URL == "" {
		s.URL = os.Getenv(envURL)
		if info := os.Getenv(envUser); info != "" && s.User == "" {
			s.User, s.Password, _ = strings.Cut(info, ":")
		}
	}
	if s.URL == "" {
		return nil, fmt.Errorf("registry: URL is empty: set Registry.URL or the environment variable %s, as http://localhost:8081", envURL)
	}
	var urls []string
	for text := range strings.SplitSeq(s.URL, ",") {
		u, err := url.Parse(strings.TrimSpace(text))
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return nil, errors.New("registry: URL is not one of a registry: want http or https and a host, as http://localhost:8081")
		}
		if u.User != nil { // errors quote URLs
			if s.User == "" {
				s.User = u.User.Username()
				s.Password, _ = u.User.Password()
			}
			u.User = nil
		}
		urls = append(urls, u.String())
	}
	if s.Timeout < 0 {
		return nil, fmt.Errorf("registry: Timeout is %v: want more than 0, or 0 for %v", s.Timeout, defaultTimeout)
	}
	if s.Timeout == 0 {
		s.Timeout = defaultTimeout
	}
	if s.HTTP == nil {
		transport := &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, ForceAttemptHTTP2: true}
		s.HTTP = &http.Client{Transport: transport}
	}
	opts := []sr.ClientOpt{sr.URLs(urls...), sr.HTTPClient(s.HTTP), sr.UserAgent("flow"), sr.LogLevel(sr.LogLevelNone)}
	switch {
	case s.Token != "":
		opts = append(opts, sr.BearerToken(s.Token))
	case s.User != "":
		opts = append(opts, sr.BasicAuth(s.User, s.Password))
	}
	client, err := sr.NewClient(opts...)
	if err != nil {
		return nil, fmt.Errorf("registry: %w", err)
	}
	return &session{client: client, at: strings.Join(urls, ","), timeout: s.Timeout}, nil
}

// ask calls fn with a context that ends with ctx or when the request's time is over.
func (s *session) ask(ctx context.Context, fn func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	return fn(ctx)
}

// pause is how long a record waits for a registry that cannot be reached.
const pause = time.Second

// wrap says what was asked, and makes an error that passes of one that is not an
// answer. It is the only place that decides which those are.
func (s *session) wrap(what string, err error) error {
	var answer *sr.ResponseError
	if errors.As(err, &answer) {
		switch code := answer.StatusCode; {
		case code == http.StatusUnauthorized, code == http.StatusForbidden:
			err = fmt.Errorf("registry: %s: %s refuses the credentials, set Registry.User and Password: %w", what, s.at, answer)
		case code == http.StatusRequestTimeout, code == http.StatusTooManyRequests, code >= 500:
			err = fmt.Errorf("registry: %s: %s is not able to answer: %w", what, s.at, answer)
		default:
			return fmt.Errorf("registry: %s: %s: %w", what, s.at, answer)
		}
	} else {
		err = fmt.Errorf("registry: %s: %s does not answer as a registry, is Registry.URL or %s right?: %w", what, s.at, envURL, err)
	}
	return primitives.RetryAfter(pause, err)
}

// passes reports whether an error is one of a registry that may answer later.
func passes(err error) bool {
	_, later := primitives.RetryDelay(err)
	return later
}

// notFound reports whether the registry does not have what was asked for.
func notFound(err error) bool {
	var answer *sr.ResponseError
	return errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound
}

// reach asks for something that every registry has. Any answer will do.
func (s *session) reach(ctx context.Context) error {
	err := s.ask(ctx, func(ctx context.Context) error {
		_, err := s.client.SupportedTypes(ctx)
		return err
	})
	if err == nil {
		return nil
	}
	if err = s.wrap("ask for the types of schemas", err); passes(err) {
		return err
	}
	return nil
}
