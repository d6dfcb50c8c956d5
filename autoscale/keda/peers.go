package keda

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// Peers finds the processes of a flow by a name that has an address for each of them,
// such as that of a headless Service, and asks each for its state.
type Peers struct {
	// Addresses are host:port of the admin address, as
	// "flow-bill.default.svc:9650". A host may stand for several processes.
	Addresses []string

	// Resolver and Client are the defaults of their packages where they are nil.
	Resolver *net.Resolver
	Client   *http.Client
}

// Validate errs for an address that is none.
func (p *Peers) Validate() error {
	for _, a := range p.Addresses {
		if host, port, err := net.SplitHostPort(a); err != nil || host == "" || port == "" {
			return fmt.Errorf("peer %q: want host:port, as flow-bill.default.svc:9650", a)
		}
	}
	return nil
}

// A peer is one process as it was found: its state, or why it is not known.
type peer struct {
	address string
	state   state
	err     error
}

// state is the part of a process's /state that a Scaler reads.
type state struct {
	Flow       string           `json:"flow"`
	Processors []processorState `json:"processors"`
}

// processorState is one processor in it. What is nil is not known.
type processorState struct {
	Name       string   `json:"name"`
	Replicas   int      `json:"replicas"`
	InFlight   int64    `json:"in_flight"`
	Throughput float64  `json:"throughput"`
	Backlog    *int64   `json:"backlog"`
	CPU        *float64 `json:"cpu_percent"`
	Paused     bool     `json:"paused"`
	Autoscale  struct {
		WantedCPU int `json:"wanted_cpus"` // above 0: there is no room for more replicas
	} `json:"autoscale"`
	Lanes []struct {
		Topic     string `json:"topic"`
		Partition int32  `json:"partition"`
	} `json:"lanes"`
}

// maxState bounds what is read of one answer.
const maxState = 16 << 20

// look asks all processes of a flow at the same time. A process that does not answer
// is among them, with its error. It errs when the names cannot be looked up; a name
// that has no address stands for no process.
func (p *Peers) look(ctx context.Context, flow string) ([]peer, error) {
	addresses, err := p.resolve(ctx)
	if err != nil {
		return nil, err
	}
	peers := make([]peer, len(addresses))
	var all sync.WaitGroup
	for i, address := range addresses {
		peers[i].address = address
		all.Go(func() {
			peers[i].state, peers[i].err = p.ask(ctx, address)
			if other := peers[i].state.Flow; peers[i].err == nil && other != flow {
				peers[i].err = fmt.Errorf("it runs the flow %q, not %q", other, flow)
			}
		})
	}
	all.Wait()
	return peers, nil
}

// resolve returns the addresses of all processes, in order.
func (p *Peers) resolve(ctx context.Context) ([]string, error) {
	resolver := p.Resolver
	if resolver == nil {
		resolver = net.DefaultResolver
	}
	var out []string
	for _, a := range p.Addresses {
		host, port, err := net.SplitHostPort(a)
		if err != nil {
			return nil, err
		}
		ips, err := resolver.LookupHost(ctx, host)
		var dns *net.DNSError
		if errors.As(err, &dns) && dns.IsNotFound {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("look up the processes at %s: %w", a, err)
		}
		for _, ip := range ips {
			out = append(out, net.JoinHostPort(ip, port))
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// ask gets the state of one process.
func (p *Peers) ask(ctx context.Context, address string) (s state, err error) {
	client := p.Client
	if client == nil {
		client = http.DefaultClient
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/state?cpu", nil) // cpu has it measured
	if err != nil {
		return s, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return s, err
	}
	defer func() {
		_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxState)) // so that the connection is used again
		err = errors.Join(err, resp.Body.Close())
	}()
	if resp.StatusCode != http.StatusOK {
		return s, fmt.Errorf("GET /state: %s", resp.Status)
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxState)).Decode(&s); err != nil {
		return s, fmt.Errorf("GET /state: %w", err)
	}
	return s, nil
}

// String lists the names.
func (p *Peers) String() string { return strings.Join(p.Addresses, ", ") }
