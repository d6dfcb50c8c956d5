package producer

import (
	"context"
	"fmt"

	"github.com/IBM/sarama"

	"github.com/flowkit-go/flow/primitives"
)

// Producer writes to one topic, idempotently and with acks=all.
type Producer struct {
	e *engine
	s *session
	t *topic
}

var _ primitives.Writer = (*Producer)(nil)

// Open makes a Producer of client, which must stay open until the Producer is
// closed. It asks for the topic's metadata and a producer id: it errs when the
// topic does not exist or no broker answers. The connections are opened when
// they are first needed, and are not those of client; their settings are.
func Open(ctx context.Context, client sarama.Client, cfg Config) (*Producer, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if cfg.Topic == "" {
		return nil, fmt.Errorf("kafka: Topic is empty: name the topic to write to")
	}
	e := newEngine(client, cfg)
	t, err := e.openTopic(ctx, cfg.Topic, &e.cfg)
	if err != nil {
		e.stop()
		return nil, err
	}
	id, err := e.newIdentity(ctx)
	if err != nil {
		e.stop()
		return nil, err
	}
	s := &session{e: e, id: id, queues: map[*topic][]*queue{}}
	e.sessions[s] = struct{}{}
	e.start()
	return &Producer{e, s, t}, nil
}

// openTopic gets the metadata of a topic.
func (e *engine) openTopic(ctx context.Context, name string, format *Config) (*topic, error) {
	e.mu.Lock()
	t := e.topics[name]
	if t == nil {
		t = &topic{name: name, format: format}
		e.topics[name] = t
	}
	e.mu.Unlock()
	for try := 0; t.count.Load() == 0; try++ {
		err := e.refresh()
		if t.count.Load() > 0 {
			break
		}
		if perr := pause(ctx, try); perr != nil || try >= 5 {
			if err == nil {
				err = fmt.Errorf("kafka: topic %s: it has no partitions", name)
			}
			e.mu.Lock()
			delete(e.topics, name)
			e.mu.Unlock()
			return nil, err
		}
	}
	return t, nil
}

// Write takes a batch; see [primitives.Writer]. Records with a key go where the
// partitioner says, records with a Partition of this topic (or of none) go there,
// and all others of the batch together to the next partition in turn.
//
// It blocks while MaxBuffered bytes are not confirmed. Records that are too
// large, or rejected as invalid by the broker, come back in a *BatchError,
// marked Permanent. So do records that failed for different reasons, as those of
// several partitions may. An error that says that a record may be stored is not a
// promise that it is not: written again, it may be there twice.
func (p *Producer) Write(ctx context.Context, batch []primitives.Record, done func(error)) {
	p.e.write(ctx, p.s, p.t, nil, batch, done)
}

// Partitions is the number of partitions that the topic has, as far as known.
func (p *Producer) Partitions() int { return int(p.t.count.Load()) }

// Close waits until all that was written is confirmed or refused. When ctx ends
// before, the rest fails with its error. It does not close the client.
func (p *Producer) Close(ctx context.Context) error { return p.e.close(ctx) }
