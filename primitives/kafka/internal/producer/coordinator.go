package producer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/IBM/sarama"

	"github.com/flowkit-go/flow/primitives"
)

// coordinator names what a broker coordinates.
type coordinator struct {
	kind sarama.CoordinatorType
	key  string
}

// find asks for the address of a coordinator.
func (e *engine) find(ctx context.Context, c coordinator) (string, error) {
	req := &sarama.FindCoordinatorRequest{CoordinatorKey: c.key, CoordinatorType: c.kind, Version: 1}
	switch {
	case e.conf.Version.IsAtLeast(sarama.V2_4_0_0):
		req.Version = 3
	case e.conf.Version.IsAtLeast(sarama.V2_0_0_0):
		req.Version = 2
	}
	var res *sarama.FindCoordinatorResponse
	err := e.askAny(ctx, func(b *sarama.Broker) error {
		var err error
		res, err = b.FindCoordinator(req)
		return err
	})
	if err != nil {
		return "", err
	}
	if res.Err != sarama.ErrNoError {
		return "", res.Err
	}
	return res.Coordinator.Addr(), nil
}

// counsel is what a coordinator's answer asks for.
type counsel uint8

const (
	settled  counsel = iota
	repeat           // the same request, a little later
	search           // the coordinator has moved
	outdated         // the group is in a newer generation, or about to be
	lost             // another producer, or another member of the group, has taken over
	hopeless
)

func advise(err sarama.KError) counsel {
	switch err {
	case sarama.ErrNoError:
		return settled
	case sarama.ErrNotCoordinatorForConsumer, sarama.ErrConsumerCoordinatorNotAvailable:
		return search
	case sarama.ErrOffsetsLoadInProgress, sarama.ErrConcurrentTransactions, sarama.ErrUnknownTopicOrPartition,
		sarama.ErrRequestTimedOut, sarama.ErrNotEnoughReplicas, sarama.ErrNotEnoughReplicasAfterAppend,
		sarama.ErrNetworkException, sarama.ErrLeaderNotAvailable, sarama.ErrNotLeaderForPartition,
		sarama.ErrKafkaStorageError, sarama.ErrThrottlingQuotaExceeded,
		sarama.ErrOperationNotAttempted, sarama.ErrUnknown:
		return repeat
	case sarama.ErrIllegalGeneration, sarama.ErrRebalanceInProgress:
		return outdated
	case sarama.ErrInvalidProducerEpoch, sarama.ErrProducerFenced, sarama.ErrTransactionCoordinatorFenced,
		sarama.ErrInvalidProducerIDMapping,
		sarama.ErrUnknownMemberId, sarama.ErrFencedInstancedId:
		return lost
	}
	return hopeless
}

// isFenced reports whether another producer has taken the transactional id over,
// or the broker has ended the transaction in its place.
func isFenced(err error) bool {
	var k sarama.KError
	if !errors.As(err, &k) {
		return false
	}
	switch k {
	case sarama.ErrInvalidProducerEpoch, sarama.ErrProducerFenced, sarama.ErrTransactionCoordinatorFenced, sarama.ErrInvalidProducerIDMapping:
		return true
	}
	return false
}

// ask sends a request to a coordinator until it is answered for good, ctx ends or
// the engine's Timeout is over. It reports whether a request without an answer
// may have had its effect.
func (e *engine) ask(ctx context.Context, c coordinator, request func(b *sarama.Broker) (sarama.KError, error)) (unsure bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, e.cfg.Timeout)
	defer cancel()
	stop := context.AfterFunc(e.ctx, cancel)
	defer stop()
	var last error
	for try := 0; ; try++ {
		if try > 0 {
			if err := pause(ctx, try-1); err != nil {
				return unsure, errors.Join(err, last)
			}
		}
		addr := e.addressOf(c)
		if addr == "" {
			if addr, err = e.find(ctx, c); err != nil {
				var k sarama.KError
				if errors.As(err, &k) && advise(k) == hopeless {
					return unsure, err
				}
				last = err
				continue
			}
			e.setAddress(c, addr)
		}
		l, err := e.links.acquire(ctx, addr)
		if err != nil {
			return unsure, errors.Join(err, last)
		}
		kerr, err := exchange(ctx, l, addr, request)
		e.links.release(addr, l, err == nil)
		if err != nil {
			if certain, hopeless := neverSent(err); hopeless {
				return unsure, err
			} else if !certain {
				unsure = true
			}
			last = err
			e.setAddress(c, "")
			continue
		}
		switch advise(kerr) {
		case settled:
			return false, nil
		case lost:
			return unsure, fmt.Errorf("%w: %w", primitives.ErrLost, kerr)
		case outdated, hopeless:
			return unsure, kerr
		case search:
			e.setAddress(c, "")
		case repeat:
			if kerr == sarama.ErrRequestTimedOut || kerr == sarama.ErrUnknown || kerr == sarama.ErrNetworkException {
				unsure = true
			}
		}
		last = kerr
	}
}

// exchange sends a request on l, and ends the connection when ctx ends first or
// the broker does not answer.
func exchange(ctx context.Context, l *link, addr string, request func(b *sarama.Broker) (sarama.KError, error)) (sarama.KError, error) {
	ctx, cancel := context.WithTimeout(ctx, exchangeTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, l.cut)
	defer stop()
	b, err := l.open(addr)
	if err != nil {
		return 0, err
	}
	return request(b)
}

func (e *engine) addressOf(c coordinator) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.found[c]
}

func (e *engine) setAddress(c coordinator, addr string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if addr == "" {
		delete(e.found, c)
		return
	}
	e.found[c] = addr
}

// initTransactional takes a transactional id over. With an identity it goes on
// from that one, and is refused when someone else has taken over meanwhile.
func (e *engine) initTransactional(ctx context.Context, name string, from identity) (identity, error) {
	req := &sarama.InitProducerIDRequest{
		Version: initVersion(e.conf.Version), TransactionalID: &name, TransactionTimeout: e.cfg.TransactionTimeout,
		ProducerID: from.id, ProducerEpoch: from.epoch,
	}
	id := identity{-1, -1}
	_, err := e.ask(ctx, coordinator{sarama.CoordinatorTransaction, name}, func(b *sarama.Broker) (sarama.KError, error) {
		res, err := b.InitProducerID(req)
		if err != nil {
			return 0, err
		}
		id = identity{res.ProducerID, res.ProducerEpoch}
		return res.Err, nil
	})
	return id, err
}

// txnVersion is the version, 0 to 3, of the requests about transactions.
func (e *engine) txnVersion() int16 {
	switch v := e.conf.Version; {
	case v.IsAtLeast(sarama.V2_8_0_0):
		return 3
	case v.IsAtLeast(sarama.V2_7_0_0):
		return 2
	case v.IsAtLeast(sarama.V2_0_0_0):
		return 1
	}
	return 0
}

// worst is the error of partitions that says most.
func worst(a, b sarama.KError) sarama.KError {
	if advise(b) > advise(a) {
		return b
	}
	return a
}

// exchangeTimeout bounds one request to a coordinator. None of them takes long,
// and all may be sent again.
const exchangeTimeout = 5 * time.Second

// abortTimeout bounds the attempt to abort a transaction whose context has ended.
const abortTimeout = 5 * time.Second
