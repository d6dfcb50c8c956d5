package nats

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// untilAckedMark is in the metadata of streams whose retention this package
// manages, as UntilAcked describes.
const untilAckedMark = "flow-until-acked"

// ensureStream returns the stream, created if it does not exist.
func (l *link) ensureStream(ctx context.Context, c *config) (*jetstream.StreamInfo, error) {
	for range 2 {
		s, err := l.js.Stream(ctx, c.name)
		if err == nil {
			info := s.CachedInfo()
			return info, checkStream(c, info)
		}
		if !errors.Is(err, jetstream.ErrStreamNotFound) {
			return nil, l.setupError(c, "look up", err)
		}
		want := newStreamConfig(c)
		if l.local { // the same literal has replicas on a cluster
			want.Replicas = 1
		}
		s, err = l.js.CreateStream(ctx, want)
		if err == nil {
			return s.CachedInfo(), nil
		}
		// Another process was faster, with other settings: look again.
		if !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			return nil, l.setupError(c, "create", err)
		}
	}
	return nil, fmt.Errorf("nats: stream %s at %s: it is created and deleted by others at the same time", c.name, l.where)
}

func (l *link) setupError(c *config, verb string, err error) error {
	hint := ""
	switch {
	case isNoJetStream(err):
		hint = ": the server has JetStream off (start nats-server with -js), or the cluster has no leader yet"
	case apiCode(err) == codeSubjectOverlap:
		hint = ": another stream takes this subject: set Name to that stream, or Subject to a free one"
	case apiCode(err) == codeNotReplicated:
		hint = ": a single server cannot hold replicas: leave Replicas out"
	}
	return fmt.Errorf("nats: %s stream %s at %s: %w%s", verb, c.name, l.where, err, hint)
}

func newStreamConfig(c *config) jetstream.StreamConfig {
	sc := jetstream.StreamConfig{
		Name:       c.name,
		Subjects:   []string{c.subject},
		Retention:  policies[c.retention],
		Storage:    jetstream.FileStorage,
		MaxMsgs:    -1,
		MaxBytes:   -1,
		MaxAge:     c.maxAge,
		Replicas:   max(c.replicas, 1),
		Duplicates: c.dedupeWindow,
		Discard:    jetstream.DiscardNew,
	}
	if c.subject == "" {
		sc.Subjects[0] = c.name
	}
	if c.maxMsgs > 0 {
		sc.MaxMsgs = c.maxMsgs
	}
	if c.maxBytes > 0 {
		sc.MaxBytes = c.maxBytes
	}
	switch c.retention {
	case Limits:
		sc.Discard = jetstream.DiscardOld
	case UntilAcked:
		sc.Metadata = map[string]string{untilAckedMark: "1"}
	}
	// The server refuses a window that is longer than what it keeps.
	if c.dedupeWindow == 0 && c.maxAge > 0 && c.maxAge < defaultDedupeWindow {
		sc.Duplicates = c.maxAge
	}
	return sc
}

var policies = map[Retention]jetstream.RetentionPolicy{
	UntilAcked: jetstream.LimitsPolicy,
	WorkQueue:  jetstream.WorkQueuePolicy,
	Interest:   jetstream.InterestPolicy,
	Limits:     jetstream.LimitsPolicy,
}

// checkStream refuses a stream that exists with settings that break what this
// package promises or the user has asked for. All others are used as they are.
func checkStream(c *config, info *jetstream.StreamInfo) error {
	sc := info.Config
	wrong := func(format string, args ...any) error {
		return fmt.Errorf("nats: stream %s exists "+format, append([]any{c.name}, args...)...)
	}
	if sc.NoAck {
		return wrong("with NoAck: its writes are not confirmed, so that none can be relied on: change that setting")
	}
	managed := sc.Metadata[untilAckedMark] != ""
	if c.retention != UntilAcked && (sc.Retention != policies[c.retention] || managed) {
		is := sc.Retention.String()
		if managed {
			is = "UntilAcked"
		}
		return wrong("with retention %s, not with the one in the field Retention: leave the field out to use the stream as it is, or delete the stream", is)
	}
	if c.subject != "" && sc.Mirror == nil && len(sc.Sources) == 0 && !covers(sc.Subjects, c.subject) {
		return wrong("with the subjects %s, and %q is none of them: correct Subject, or use a stream of another name", strings.Join(sc.Subjects, ", "), c.subject)
	}
	return nil
}

// publishSubject is where records for the stream go.
func publishSubject(c *config, info *jetstream.StreamInfo) (string, error) {
	if c.subject != "" {
		return c.subject, nil
	}
	if s := info.Config.Subjects; len(s) == 1 && !hasWildcard(s[0]) {
		return s[0], nil
	}
	if covers(info.Config.Subjects, c.name) {
		return c.name, nil
	}
	return "", fmt.Errorf("nats: stream %s takes the subjects %s: set Subject to the one to write to", c.name, strings.Join(info.Config.Subjects, ", "))
}

// ensureConsumer returns the durable consumer, created if it does not exist.
func (l *link) ensureConsumer(ctx context.Context, c *config, info *jetstream.StreamInfo, durable string) (*jetstream.ConsumerInfo, error) {
	want := jetstream.ConsumerConfig{
		Durable:       durable,
		DeliverPolicy: jetstream.DeliverAllPolicy,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       defaultAckWait,
		MaxDeliver:    -1,
		MaxAckPending: -1, // lanes bound what is in flight
	}
	if subjects := info.Config.Subjects; c.subject != "" && (len(subjects) != 1 || subjects[0] != c.subject) {
		want.FilterSubject = c.subject
	}
	if c.ackWait > 0 {
		want.AckWait = c.ackWait
	}
	if c.maxDeliver > 0 {
		want.MaxDeliver = c.maxDeliver
	}
	wrap := func(verb string, err error) error {
		hint := ""
		switch code := apiCode(err); {
		case code == codeWorkQueueTaken || code == codeWorkQueueNotUnique:
			hint = ": a work queue has one consumer: give this processor the Durable of that one, or use the retention UntilAcked"
		case errors.Is(err, jetstream.ErrNotPullConsumer):
			hint = ": it is a push consumer: set Durable to another name"
		}
		return fmt.Errorf("nats: %s consumer %s of stream %s at %s: %w%s", verb, durable, c.name, l.where, err, hint)
	}
	var have jetstream.ConsumerConfig
	consumer, err := l.js.Consumer(ctx, c.name, durable)
	switch {
	case errors.Is(err, jetstream.ErrConsumerNotFound):
		// Where another process is faster, the same settings are no error.
		if consumer, err = l.js.CreateConsumer(ctx, c.name, want); err != nil {
			return nil, wrap("create", err)
		}
		return consumer.CachedInfo(), nil
	case err != nil:
		return nil, wrap("look up", err)
	}
	have = consumer.CachedInfo().Config
	if have.AckPolicy != jetstream.AckExplicitPolicy {
		return nil, wrap("use", fmt.Errorf("its ack policy is %s, and records are acknowledged one by one: set Durable to another name", have.AckPolicy))
	}
	if c.subject != "" && have.FilterSubject != want.FilterSubject && have.FilterSubject != c.subject {
		return nil, wrap("use", fmt.Errorf("it reads the subject %q and not %q: set Durable to another name, or delete it", have.FilterSubject, c.subject))
	}
	changed := have
	if c.ackWait > 0 {
		changed.AckWait = c.ackWait
	}
	if c.maxDeliver > 0 {
		changed.MaxDeliver = c.maxDeliver
	}
	if changed.AckWait == have.AckWait && changed.MaxDeliver == have.MaxDeliver {
		return consumer.CachedInfo(), nil
	}
	if consumer, err = l.js.UpdateConsumer(ctx, c.name, changed); err != nil {
		return nil, wrap("update", err)
	}
	return consumer.CachedInfo(), nil
}

// beginRemoval changes a stream that UntilAcked has created to the policy that
// removes what is acknowledged, once there is a consumer that reads all of it.
func (l *link) beginRemoval(ctx context.Context, c *config, consumer *jetstream.ConsumerInfo) error {
	filtered := consumer.Config.FilterSubject != "" || len(consumer.Config.FilterSubjects) > 0
	if filtered { // what no consumer reads would be dropped when it is written
		return nil
	}
	return l.setRetention(ctx, c, func(info *jetstream.StreamInfo) bool {
		return info.Config.Retention == jetstream.LimitsPolicy
	}, jetstream.InterestPolicy)
}

// keepUnread changes it back when its last consumer was deleted: what is
// written would be dropped otherwise.
func (l *link) keepUnread(ctx context.Context, c *config) error {
	return l.setRetention(ctx, c, func(info *jetstream.StreamInfo) bool {
		return info.Config.Retention == jetstream.InterestPolicy && info.State.Consumers == 0
	}, jetstream.LimitsPolicy)
}

func (l *link) setRetention(ctx context.Context, c *config, due func(*jetstream.StreamInfo) bool, to jetstream.RetentionPolicy) error {
	s, err := l.js.Stream(ctx, c.name)
	if err != nil {
		return l.setupError(c, "look up", err)
	}
	info := s.CachedInfo()
	if info.Config.Metadata[untilAckedMark] == "" || !due(info) {
		return nil
	}
	sc := info.Config
	sc.Retention = to
	if _, err := l.js.UpdateStream(ctx, sc); err != nil {
		return l.setupError(c, "change the retention of", err)
	}
	return nil
}

// durableName is the consumer's name for a processor. Characters that NATS
// refuses are replaced, and a checksum then keeps different names apart.
func durableName(c *config, processor string) string {
	if c.durable != "" {
		return c.durable
	}
	if isName(processor) {
		return processor
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(processor))
	return fmt.Sprintf("%s-%08x", replaceUnsafe(processor), h.Sum32())
}

// covers reports whether one of a stream's subjects includes all of subject.
func covers(subjects []string, subject string) bool {
	for _, s := range subjects {
		if includes(strings.Split(s, "."), strings.Split(subject, ".")) {
			return true
		}
	}
	return false
}

func includes(wide, narrow []string) bool {
	for i, token := range wide {
		if token == ">" {
			return len(narrow) > i
		}
		if i >= len(narrow) || narrow[i] == ">" || token != narrow[i] && token != "*" {
			return false
		}
	}
	return len(wide) == len(narrow)
}
