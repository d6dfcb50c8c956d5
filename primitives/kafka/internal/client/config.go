package client

import (
	"context"
	"fmt"

	"github.com/IBM/sarama"
	"github.com/xdg-go/scram"

	"github.com/flowkit-go/flow/primitives/kafka/driver"
)

// newConfig returns sarama's settings for connections to a cluster. Versions of
// requests are agreed with each broker, so the newest are offered.
func newConfig(c driver.Cluster) *sarama.Config {
	s := sarama.NewConfig()
	s.ClientID = c.ClientID
	s.Version = sarama.MaxVersion
	s.MetricRegistry = noMetrics{}
	s.Net.DialTimeout = c.DialTimeout
	s.Net.ReadTimeout = c.RequestTimeout
	s.Net.WriteTimeout = c.RequestTimeout
	s.Metadata.Full = false
	s.Metadata.AllowAutoTopicCreation = false
	s.Metadata.RefreshFrequency = 0 // those who need it refresh it
	s.Metadata.Retry.Max = 1
	s.Producer.RequiredAcks = sarama.WaitForAll
	if c.TLS != nil {
		s.Net.TLS.Enable, s.Net.TLS.Config = true, c.TLS
	}
	if c.SASL.Mechanism != driver.NoSASL {
		setSASL(s, c)
	}
	return s
}

func setSASL(s *sarama.Config, c driver.Cluster) {
	sasl := &s.Net.SASL
	sasl.Enable = true
	sasl.Version = sarama.SASLHandshakeV1
	sasl.Mechanism = sarama.SASLMechanism(c.SASL.Mechanism)
	sasl.User, sasl.Password = c.SASL.Username, c.SASL.Password
	switch c.SASL.Mechanism {
	case driver.ScramSHA256:
		sasl.SCRAMClientGeneratorFunc = func() sarama.SCRAMClient { return &scramClient{hash: scram.SHA256} }
	case driver.ScramSHA512:
		sasl.SCRAMClientGeneratorFunc = func() sarama.SCRAMClient { return &scramClient{hash: scram.SHA512} }
	case driver.OAuthBearer:
		sasl.TokenProvider = tokens{c}
	}
}

// scramClient is one conversation (RFC 5802).
type scramClient struct {
	hash scram.HashGeneratorFcn
	*scram.ClientConversation
}

func (c *scramClient) Begin(user, password, authzID string) error {
	client, err := c.hash.NewClient(user, password, authzID)
	if err != nil {
		return err
	}
	c.ClientConversation = client.NewConversation()
	return nil
}

// tokens asks the user's function for a token, for each connection.
type tokens struct{ cluster driver.Cluster }

func (t tokens) Token() (*sarama.AccessToken, error) {
	ctx, cancel := context.WithTimeout(context.Background(), t.cluster.RequestTimeout)
	defer cancel()
	token, err := t.cluster.SASL.Token(ctx)
	if err != nil {
		return nil, fmt.Errorf("token: %w", err)
	}
	return &sarama.AccessToken{Token: token.Value, Extensions: token.Extensions}, nil
}
