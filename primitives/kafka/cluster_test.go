package kafka

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestClusterFromEnvironment(t *testing.T) {
	t.Setenv(brokersVar, " a:1, b ,\t[::1]:3\n")
	t.Setenv(clientIDVar, "billing")
	t.Setenv(mechanismVar, "scram-sha-512")
	t.Setenv(usernameVar, "u")
	t.Setenv(passwordVar, "p")
	t.Setenv(tlsVar, "true")
	c, err := Cluster{}.resolve()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(c.Brokers, []string{"a:1", "b:9092", "[::1]:3"}) || c.ClientID != "billing" || c.TLS == nil ||
		c.SASL.Mechanism != ScramSHA512 || c.SASL.Username != "u" || c.SASL.Password != "p" {
		t.Errorf("cluster %+v", c)
	}
	c, err = Cluster{Brokers: []string{"x:9"}, ClientID: "y", SASL: SASL{Mechanism: Plain, Username: "v", Password: "w"}}.resolve()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(c.Brokers, []string{"x:9"}) || c.ClientID != "y" || c.SASL.Mechanism != Plain || c.SASL.Username != "v" || c.SASL.Password != "w" {
		t.Errorf("fields do not go before the environment: %+v", c)
	}
}

func TestClusterErrors(t *testing.T) {
	for want, vars := range map[string]map[string]string{
		"set KAFKA_BROKERS":     {},
		"KAFKA_BROKERS: broker": {brokersVar: "a:b:c:1"},
		"KAFKA_SASL_MECHANISM":  {brokersVar: "a:1", mechanismVar: "KERBEROS"},
		"KAFKA_PASSWORD":        {brokersVar: "a:1", usernameVar: "u"},
		"SASL.Token":            {brokersVar: "a:1", mechanismVar: "OAUTHBEARER"},
		"KAFKA_TLS ":            {brokersVar: "a:1", tlsVar: "perhaps"},
		"KAFKA_TLS_CA":          {brokersVar: "a:1", caVar: "/does/not/exist"},
		"KAFKA_TLS_KEY":         {brokersVar: "a:1", certVar: "/does/not/exist"},
	} {
		t.Run(want, func(t *testing.T) {
			for name, value := range vars {
				t.Setenv(name, value)
			}
			topic := Topic[int]{Name: "in", Group: "g"}
			if _, err := topic.OpenSource(testContext(t), place(t, "p")); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("OpenSource: %v, want an error with %q", err, want)
			}
		})
	}
}

func TestSASL(t *testing.T) {
	for _, mechanism := range []Mechanism{Plain, ScramSHA256, ScramSHA512} {
		t.Run(string(mechanism), func(t *testing.T) {
			c := fake(t, kfake.EnableSASL(), kfake.Superuser(string(mechanism), "u", "secret"))
			cluster := at(c)
			cluster.SASL = SASL{Mechanism: mechanism, Username: "u", Password: "secret"}
			write(t, Topic[[]byte]{Name: "in", Cluster: cluster}, numbered(0, 10)...)
			m := join(t, quick(cluster, "g"), 100)
			m.take(testContext(t), 10)

			cluster.SASL.Password = "wrong"
			start := time.Now()
			_, err := quick(cluster, "g").OpenSource(testContext(t), place(t, "p"))
			if err == nil || !strings.Contains(err.Error(), "SASL") || time.Since(start) > 10*time.Second {
				t.Errorf("with the wrong password: %v after %v", err, time.Since(start))
			}
			if err != nil && (strings.Contains(err.Error(), "wrong") || strings.Contains(err.Error(), "secret")) {
				t.Errorf("the error tells the password: %v", err)
			}
		})
	}
}

// authority makes a certificate for the local host that signs itself.
func authority(t testing.TB) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, file
}

func TestTLS(t *testing.T) {
	cert, file := authority(t)
	c := fake(t, kfake.ListenFn(func(network, address string) (net.Listener, error) {
		return tls.Listen(network, address, &tls.Config{Certificates: []tls.Certificate{cert}})
	}))
	cluster := at(c)
	cluster.CAFile = file
	write(t, Topic[[]byte]{Name: "in", Cluster: cluster}, numbered(0, 10)...)
	m := join(t, quick(cluster, "g"), 100)
	ctx := testContext(t)
	m.take(ctx, 10)

	t.Setenv(caVar, file)
	if r, err := quick(at(c), "g2").OpenSource(ctx, place(t, "p")); err != nil {
		t.Errorf("with %s: %v", caVar, err)
	} else if err := r.Close(ctx); err != nil {
		t.Error(err)
	}
	t.Setenv(caVar, "")
	stranger := at(c)
	stranger.UseTLS = true
	if _, err := quick(stranger, "g").OpenSource(ctx, place(t, "p")); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("an authority that is not known: %v", err)
	}
}

// A token, with its extensions, is what a broker gets for OAUTHBEARER. Its error is told.
func TestToken(t *testing.T) {
	c := fake(t)
	got := make(chan string, 100)
	c.ControlKey(int16(kmsg.SASLHandshake), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		got <- r.(*kmsg.SASLHandshakeRequest).Mechanism
		return r.ResponseKind(), nil, true
	})
	c.ControlKey(int16(kmsg.SASLAuthenticate), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		got <- string(r.(*kmsg.SASLAuthenticateRequest).SASLAuthBytes)
		return r.ResponseKind(), nil, true
	})
	cluster := at(c)
	cluster.SASL.Token = func(ctx context.Context) (Token, error) {
		if _, ok := ctx.Deadline(); !ok {
			t.Error("no deadline")
		}
		return Token{Value: "t0ken", Extensions: map[string]string{"tenant": "x"}}, nil
	}
	m := join(t, quick(cluster, "g"), 10)
	m.owns(testContext(t), 4)
	if mechanism := <-got; mechanism != "OAUTHBEARER" {
		t.Errorf("mechanism %q", mechanism)
	}
	if auth := <-got; !strings.Contains(auth, "auth=Bearer t0ken") || !strings.Contains(auth, "tenant=x") {
		t.Errorf("the broker got %q", auth)
	}

	cluster.OpenTimeout = 2 * time.Second
	cluster.SASL.Token = func(context.Context) (Token, error) { return Token{}, os.ErrPermission }
	_, err := quick(cluster, "g").OpenSource(testContext(t), place(t, "p"))
	if err == nil || !strings.Contains(err.Error(), "token: permission denied") {
		t.Errorf("a token that cannot be had: %v", err)
	}
}
