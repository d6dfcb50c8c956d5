package client

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/IBM/sarama"

	"github.com/flowkit-go/flow/primitives/kafka/driver"
)

// A Client knows the brokers of a cluster: which there are, and which of them
// leads a partition or coordinates a group. It implements driver.AdminClient.
type Client struct {
	cluster driver.Cluster
	config  *sarama.Config
	dialer  *dialer
	meta    sarama.Client

	ctx   context.Context // ends with Close
	end   context.CancelFunc
	asked sync.WaitGroup // calls of sarama that may outlive who waits for them

	mu     sync.Mutex
	links  map[string]*link // for questions, by address
	closed bool
	done   chan struct{} // closed when everything has ended
}

var _ driver.AdminClient = (*Client)(nil)

// Open connects to one of the cluster's brokers, and asks it for the topics, which
// need not exist. Without topics it asks for all that there are.
func Open(ctx context.Context, cluster driver.Cluster, topics ...string) (*Client, error) {
	c := &Client{
		cluster: cluster, config: newConfig(cluster), dialer: newDialer(cluster.DialTimeout),
		links: map[string]*link{}, done: make(chan struct{}),
	}
	c.ctx, c.end = context.WithCancel(context.Background())
	opening, cancel := context.WithTimeout(ctx, cluster.OpenTimeout)
	defer cancel()
	config := *c.config
	config.Net.Proxy.Enable, config.Net.Proxy.Dialer = true, c.dialer
	c.dialer.patience = min(cluster.RequestTimeout, cluster.OpenTimeout/4)
	var err error
	if c.meta, err = sarama.NewClient(cluster.Brokers, &config); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(opening, c.dialer.cutAll)
	err = c.meta.RefreshMetadata(topics...)
	if !stop() {
		err = context.Cause(opening)
	}
	if err != nil && (opening.Err() != nil || !answered(err)) {
		_ = c.Close(context.WithoutCancel(ctx)) // all connections are cut
		return nil, fmt.Errorf("%w at %s: %w", driver.ErrUnreachable, strings.Join(cluster.Brokers, ", "), err)
	}
	return c, nil
}

// answered tells the answer of a broker about topics from the lack of one.
func answered(err error) bool {
	var code sarama.KError
	return errors.As(err, &code) && code != sarama.ErrSASLAuthenticationFailed && !errors.Is(err, sarama.ErrOutOfBrokers)
}

// Close cuts all connections and waits for what used them, bounded by ctx.
func (c *Client) Close(ctx context.Context) error {
	c.mu.Lock()
	first := !c.closed
	c.closed = true
	links := c.links
	c.links = nil
	c.mu.Unlock()
	if first {
		c.end()
		go func() {
			defer close(c.done)
			c.dialer.cutAll()
			_ = c.meta.Close() // of connections that were cut
			c.asked.Wait()
			for _, l := range links {
				l.close()
			}
		}()
	}
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// ask runs a call of sarama that knows no context. When ctx ends the call goes on
// by itself; it is bounded by the timeouts of its connection, and by Close.
func (c *Client) ask(ctx context.Context, what func() error) error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return sarama.ErrClosedClient
	}
	c.asked.Add(1)
	c.mu.Unlock()
	answer := make(chan error, 1)
	go func() {
		defer c.asked.Done()
		answer <- what()
	}()
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// link returns the connection for questions to the broker at an address.
func (c *Client) link(addr string) (*link, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, sarama.ErrClosedClient
	}
	l := c.links[addr]
	if l == nil {
		l = newLink(c.config, addr)
		c.links[addr] = l
	}
	return l, nil
}

// coordinator returns the address of a group's coordinator, looked up anew when fresh.
func (c *Client) coordinator(ctx context.Context, group string, fresh bool) (string, error) {
	found := make(chan string, 1)
	err := c.ask(ctx, func() error {
		if fresh {
			if err := c.meta.RefreshCoordinator(group); err != nil {
				return err
			}
		}
		b, err := c.meta.Coordinator(group)
		if err == nil {
			found <- b.Addr()
		}
		return err
	})
	if err != nil {
		return "", err
	}
	return <-found, nil
}

// leader returns the broker that leads a partition. Where it is not known the brokers
// are asked, which may take long when one hangs.
func (c *Client) leader(ctx context.Context, topic string, id int32) (b *sarama.Broker, epoch int32, err error) {
	type leader struct {
		b     *sarama.Broker
		epoch int32
	}
	found := make(chan leader, 1)
	err = c.ask(ctx, func() error {
		b, epoch, err := c.meta.LeaderAndEpoch(topic, id)
		if err == nil && b.Addr() == "" {
			err = sarama.ErrLeaderNotAvailable
		}
		found <- leader{b, epoch}
		return err
	})
	if err != nil {
		return nil, -1, err
	}
	l := <-found
	return l.b, l.epoch, nil
}

// refresh looks the leaders of topics up anew.
func (c *Client) refresh(ctx context.Context, topics ...string) error {
	return c.ask(ctx, func() error { return c.meta.RefreshMetadata(topics...) })
}
