package kafka

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/flowkit-go/flow/primitives/kafka/driver"
	"github.com/flowkit-go/flow/primitives/kafka/internal/client"
)

// A Cluster is how to reach Kafka. The zero value takes everything from the
// environment; a field that is set goes before its variable.
type Cluster struct {
	// Brokers to ask for the others, as "host:port"; the port may be left out
	// where it is 9092. Default: KAFKA_BROKERS, with commas between them.
	Brokers []string

	// ClientID names this client to the brokers, in their logs and quotas.
	// Default: KAFKA_CLIENT_ID, or else "flow".
	ClientID string

	// SASL is how to log in. Default: KAFKA_SASL_MECHANISM, KAFKA_USERNAME and
	// KAFKA_PASSWORD; without them no login.
	SASL SASL

	// TLS is used for connections. Default: none, or that of the system where
	// KAFKA_TLS is "true" or UseTLS is set.
	TLS    *tls.Config
	UseTLS bool

	// CAFile, CertFile and KeyFile name PEM files and mean TLS: who signs the
	// brokers' certificates, and this client's own. Default: KAFKA_TLS_CA,
	// KAFKA_TLS_CERT and KAFKA_TLS_KEY.
	CAFile, CertFile, KeyFile string

	// DialTimeout bounds one connection attempt. Default 5 s.
	DialTimeout time.Duration

	// RequestTimeout bounds the answer to one request. Default 30 s.
	RequestTimeout time.Duration

	// OpenTimeout is how long a flow's start looks for a broker that answers.
	// Default 10 s.
	OpenTimeout time.Duration

	// Driver speaks to the brokers. The default is built on sarama.
	Driver driver.Driver
}

func (c Cluster) driver() driver.Driver {
	if c.Driver != nil {
		return c.Driver
	}
	return client.Driver{}
}

// SASL is how to log in. Without a Mechanism, Token means OAuthBearer and a
// Username means Plain.
type SASL struct {
	Mechanism          Mechanism
	Username, Password string

	// Token returns a bearer token, for OAuthBearer. It is called for each
	// connection and must be quick, so it should keep the token until shortly
	// before it ends. Amazon MSK with IAM wants one of
	// github.com/aws/aws-msk-iam-sasl-signer-go: signer.GenerateAuthToken.
	Token func(context.Context) (Token, error)
}

// Mechanism is a way to log in.
type Mechanism = driver.Mechanism

// Token is a bearer token, with extensions where the broker wants some.
type Token = driver.Token

// The mechanisms. AWSMSKIAM is OAuthBearer, which is how Amazon MSK takes IAM
// tokens from clients that are not its own: set SASL.Token, and TLS.
const (
	Plain       = driver.Plain
	ScramSHA256 = driver.ScramSHA256
	ScramSHA512 = driver.ScramSHA512
	OAuthBearer = driver.OAuthBearer
	AWSMSKIAM   = driver.OAuthBearer
)

// The environment variables of a Cluster.
const (
	brokersVar   = "KAFKA_BROKERS"
	clientIDVar  = "KAFKA_CLIENT_ID"
	mechanismVar = "KAFKA_SASL_MECHANISM"
	usernameVar  = "KAFKA_USERNAME"
	passwordVar  = "KAFKA_PASSWORD"
	tlsVar       = "KAFKA_TLS"
	caVar        = "KAFKA_TLS_CA"
	certVar      = "KAFKA_TLS_CERT"
	keyVar       = "KAFKA_TLS_KEY"
)

const (
	defaultDialTimeout    = 5 * time.Second
	defaultRequestTimeout = 30 * time.Second
	defaultOpenTimeout    = 10 * time.Second
	defaultPort           = "9092"
)

// validate reports the fields that are filled in wrongly, without the environment.
func (c Cluster) validate() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf("kafka: Cluster."+format, args...)) }
	for _, b := range c.Brokers {
		if _, err := address(b); err != nil {
			wrong("Brokers: %w", err)
		}
	}
	if c.DialTimeout < 0 || c.RequestTimeout < 0 || c.OpenTimeout < 0 {
		wrong("DialTimeout, RequestTimeout and OpenTimeout: use 0 for the default, or more")
	}
	if c.CAFile != "" && c.TLS != nil {
		wrong("CAFile and TLS are both set: put the authority into TLS.RootCAs, or leave TLS out")
	}
	if (c.CertFile == "") != (c.KeyFile == "") {
		wrong("CertFile and KeyFile go together: set both or none")
	}
	switch c.SASL.Mechanism {
	case driver.NoSASL, Plain, ScramSHA256, ScramSHA512:
	case OAuthBearer:
		if c.SASL.Token == nil {
			wrong("SASL.Token is nil: mechanism %s needs a function that returns a token", c.SASL.Mechanism)
		}
	default:
		wrong("SASL.Mechanism %q is not known: use Plain, ScramSHA256, ScramSHA512, OAuthBearer or AWSMSKIAM", c.SASL.Mechanism)
	}
	return errors.Join(errs...)
}

// resolve fills in the environment and the defaults.
func (c Cluster) resolve() (driver.Cluster, error) {
	if err := c.validate(); err != nil {
		return driver.Cluster{}, err
	}
	out := driver.Cluster{
		ClientID:       cmp.Or(c.ClientID, os.Getenv(clientIDVar), "flow"),
		DialTimeout:    cmp.Or(c.DialTimeout, defaultDialTimeout),
		RequestTimeout: cmp.Or(c.RequestTimeout, defaultRequestTimeout),
		OpenTimeout:    cmp.Or(c.OpenTimeout, defaultOpenTimeout),
	}
	brokers := c.Brokers
	if len(brokers) == 0 {
		brokers = strings.FieldsFunc(os.Getenv(brokersVar), func(r rune) bool { return r == ',' || unicode.IsSpace(r) })
	}
	if len(brokers) == 0 {
		return out, fmt.Errorf("kafka: no brokers: set %s or Cluster.Brokers, as \"localhost:9092\"", brokersVar)
	}
	for _, b := range brokers {
		addr, err := address(b)
		if err != nil {
			return out, fmt.Errorf("kafka: %s: %w", brokersVar, err)
		}
		out.Brokers = append(out.Brokers, addr)
	}
	var err error
	if out.SASL, err = c.SASL.resolve(); err != nil {
		return out, err
	}
	out.TLS, err = c.tls()
	return out, err
}

// address adds the port where there is none.
func address(broker string) (string, error) {
	if strings.Contains(broker, "://") {
		return "", fmt.Errorf("broker %q: give host:port, without a scheme", broker)
	}
	host, port, err := net.SplitHostPort(broker)
	if err != nil {
		host, port = strings.Trim(broker, "[]"), defaultPort
		if strings.Contains(host, ":") && net.ParseIP(host) == nil {
			return "", fmt.Errorf("broker %q: give host:port: %w", broker, err)
		}
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || host == "" {
		return "", fmt.Errorf("broker %q: give host:port", broker)
	}
	return net.JoinHostPort(host, port), nil
}

func (s SASL) resolve() (driver.SASL, error) {
	out := driver.SASL{
		Mechanism: cmp.Or(s.Mechanism, driver.Mechanism(strings.ToUpper(os.Getenv(mechanismVar)))),
		Username:  cmp.Or(s.Username, os.Getenv(usernameVar)),
		Password:  cmp.Or(s.Password, os.Getenv(passwordVar)),
		Token:     s.Token,
	}
	switch {
	case out.Mechanism != driver.NoSASL:
	case s.Token != nil:
		out.Mechanism = OAuthBearer
	case out.Username != "":
		out.Mechanism = Plain
	}
	switch out.Mechanism {
	case driver.NoSASL:
	case Plain, ScramSHA256, ScramSHA512:
		if out.Username == "" || out.Password == "" {
			return out, fmt.Errorf("kafka: mechanism %s needs a user and a password: set %s and %s, or Cluster.SASL", out.Mechanism, usernameVar, passwordVar)
		}
	case OAuthBearer:
		if out.Token == nil {
			return out, fmt.Errorf("kafka: mechanism %s needs Cluster.SASL.Token, a function that returns a token", out.Mechanism)
		}
	default:
		return out, fmt.Errorf("kafka: %s %q is not known: use PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER", mechanismVar, out.Mechanism)
	}
	return out, nil
}

// tls returns the settings of TLS, or nil.
func (c Cluster) tls() (*tls.Config, error) {
	use := c.UseTLS
	if v := os.Getenv(tlsVar); v != "" && !use {
		var err error
		if use, err = strconv.ParseBool(v); err != nil {
			return nil, fmt.Errorf("kafka: %s %q: use true or false", tlsVar, v)
		}
	}
	if c.TLS != nil {
		return c.TLS.Clone(), nil
	}
	ca, cert, key := cmp.Or(c.CAFile, os.Getenv(caVar)), cmp.Or(c.CertFile, os.Getenv(certVar)), cmp.Or(c.KeyFile, os.Getenv(keyVar))
	if !use && ca == "" && cert == "" {
		return nil, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		pem, err := os.ReadFile(filepath.Clean(ca))
		if err != nil {
			return nil, fmt.Errorf("kafka: CAFile or %s: %w", caVar, err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("kafka: CAFile or %s: %s has no certificate in PEM form", caVar, ca)
		}
	}
	if cert != "" || key != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("kafka: CertFile and KeyFile, or %s and %s: %w", certVar, keyVar, err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}
