package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"
)

// heartbeat keeps the membership alive between two joins, in a goroutine of its
// own, so that giving partitions back may take its time.
type heartbeat struct {
	m *member

	// rebalance has an entry when the group wants the member to join again.
	rebalance chan struct{}

	// alive ends when the membership is lost, with the reason as its cause, when
	// the heartbeat is stopped, and with the context of run.
	alive  context.Context
	end    context.CancelCauseFunc
	done   chan struct{}
	once   sync.Once
	seen   atomic.Int64 // when the coordinator last answered, in Unix nanoseconds
	reason atomic.Pointer[error]
}

func (m *member) startHeartbeat(ctx context.Context) *heartbeat {
	h := &heartbeat{m: m, rebalance: make(chan struct{}, 1), done: make(chan struct{})}
	h.alive, h.end = context.WithCancelCause(ctx)
	h.seen.Store(time.Now().UnixNano())
	go h.run()
	return h
}

// stop ends the goroutine and waits for it.
func (h *heartbeat) stop() {
	h.once.Do(func() { h.end(nil) })
	<-h.done
}

// lost returns why the membership was lost, or nil.
func (h *heartbeat) lost() error {
	if p := h.reason.Load(); p != nil {
		return *p
	}
	return nil
}

func (h *heartbeat) contact() time.Time { return time.Unix(0, h.seen.Load()) }

func (h *heartbeat) lose(cause error) {
	h.reason.Store(&cause)
	h.end(cause)
}

func (h *heartbeat) run() {
	defer close(h.done)
	with := h.m.with
	timer := time.NewTimer(with.HeartbeatInterval)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-h.alive.Done():
			return
		}
		err := h.beat()
		next := with.HeartbeatInterval
		switch {
		case h.alive.Err() != nil:
			return
		case err == nil || errors.Is(err, sarama.ErrRebalanceInProgress):
			h.seen.Store(time.Now().UnixNano())
			if err != nil {
				select {
				case h.rebalance <- struct{}{}:
				default: // it knows already
				}
			}
		case errors.Is(err, sarama.ErrUnknownMemberId), errors.Is(err, sarama.ErrIllegalGeneration), errors.Is(err, sarama.ErrFencedInstancedId):
			h.lose(err)
			return
		default:
			silent := time.Since(h.contact())
			if silent > with.SessionTimeout {
				h.lose(fmt.Errorf("no heartbeat was answered for %v, the session timeout is %v: %w", silent.Round(time.Millisecond), with.SessionTimeout, err))
				return
			}
			with.Logger.Debug("heartbeat failed", "group", with.Group, "error", err)
			next = min(next, with.SessionTimeout/20)
		}
		timer.Reset(next)
	}
}

// beat sends one heartbeat.
func (h *heartbeat) beat() error {
	m := h.m
	ctx, cancel := context.WithTimeoutCause(h.alive, min(m.with.SessionTimeout/2, m.client.cluster.RequestTimeout), errSilent)
	defer cancel()
	l, err := m.coordinator(ctx)
	if err != nil {
		return err
	}
	who := m.who()
	request := &sarama.HeartbeatRequest{Version: 4, GroupId: who.Group, MemberId: who.ID, GenerationId: who.Generation}
	if who.InstanceID != "" {
		request.GroupInstanceId = &who.InstanceID
	}
	response, err := call(ctx, l, func(b *sarama.Broker) (*sarama.HeartbeatResponse, error) { return b.Heartbeat(request) })
	if err != nil {
		m.moved.Store(true)
		return err
	}
	if response.Err != sarama.ErrNoError {
		if passing(response.Err) && response.Err != sarama.ErrRebalanceInProgress {
			m.moved.Store(true)
		}
		return response.Err
	}
	return nil
}

var errSilent = errors.New("the coordinator does not answer")
