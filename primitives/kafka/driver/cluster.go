package driver

import (
	"context"
	"crypto/tls"
	"time"
)

// A Cluster is how to reach brokers, with all defaults filled in.
type Cluster struct {
	Brokers  []string // host:port
	ClientID string
	SASL     SASL
	TLS      *tls.Config // nil: plain connections

	// DialTimeout bounds one connection attempt, RequestTimeout the answer to one
	// request, OpenTimeout the search for a broker that answers when opening.
	DialTimeout, RequestTimeout, OpenTimeout time.Duration
}

// SASL is how to log in.
type SASL struct {
	Mechanism          Mechanism
	Username, Password string
	Token              func(ctx context.Context) (Token, error)
}

// A Mechanism is the name of a way to log in, as the protocol has it. The empty
// one is none.
type Mechanism string

// The mechanisms.
const (
	NoSASL      Mechanism = ""
	Plain       Mechanism = "PLAIN"
	ScramSHA256 Mechanism = "SCRAM-SHA-256"
	ScramSHA512 Mechanism = "SCRAM-SHA-512"
	OAuthBearer Mechanism = "OAUTHBEARER"
)

// A Token is a bearer token and the extensions that go with it.
type Token struct {
	Value      string
	Extensions map[string]string
}
