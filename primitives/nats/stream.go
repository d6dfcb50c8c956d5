package nats

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"github.com/flowkit-go/flow/primitives"
)

// A Stream is a JetStream stream with values of type T. Name is all that it
// needs. It can be a source, a sink, or both.
type Stream[T any] struct {
	// Name of the stream. Letters, digits, "-" and "_" are safe; dots, blanks,
	// wildcards and slashes are refused.
	Name string

	// Subject that Write publishes to and that the stream is created with; as a
	// source, it limits what is read. The default is the subject of the stream
	// where it exists, or else its name. It may have wildcards ("orders.>") in a
	// stream that is only read.
	Subject string

	// Durable is the name of the consumer: those that use the same one share the
	// records, each other one gets all of them. The default is the name of the
	// processor, with a short checksum where characters had to be replaced.
	Durable string

	// Key gives the key of a value. Without it records have none.
	Key func(T) string

	// MsgID gives the id by which the server drops what it has already stored
	// within DedupeWindow. Without it nothing is dropped.
	MsgID func(T) string

	// Codec encodes the values. The default is chosen by T, as primitives.CodecFor
	// describes.
	Codec primitives.Codec[T]

	// URL of a server, or of several with commas between them, as
	// "nats://a:4222,nats://b:4222" (also tls, ws and wss; user and password or a
	// token may stand before the @). The default is the environment variable
	// NATS_URL; where that is empty too, the embedded server.
	URL string

	// Credentials is the path of a credentials file (JWT and key). The default is
	// the environment variable NATS_CREDS. NKeyFile is that of a seed alone.
	Credentials, NKeyFile string

	// User and Password, or Token, log in. They may stand in the URL instead.
	User, Password, Token string

	// TLS is used for the connection. CAFile, CertFile and KeyFile name PEM files
	// and need no TLS.
	TLS                       *tls.Config
	CAFile, CertFile, KeyFile string

	// Domain is the JetStream domain, for leaf nodes. The default is none.
	Domain string

	// Options are given to the NATS client last, for what has no field here.
	Options []natsgo.Option

	// Dir is the folder of the embedded server, in the flow's data folder unless it
	// is absolute. The default is "nats". Streams of one folder share one server.
	Dir string

	// Sync is when the embedded server flushes its files to the disk. The
	// default is EverySecond. It is the same for all streams of a folder.
	Sync Sync

	// Retention, Replicas (default 1), MaxMsgs, MaxBytes, MaxAge (default no
	// limits) and DedupeWindow (default 2 minutes) are settings of a stream that is
	// created. A stream that exists keeps its own; only another Retention than a
	// given one is an error. A stream that has reached MaxMsgs or MaxBytes refuses
	// writes, which the writer reports as an error that may pass; with the
	// retention Limits it drops its oldest records instead.
	Retention         Retention
	Replicas          int
	MaxMsgs, MaxBytes int64
	MaxAge            time.Duration
	DedupeWindow      time.Duration

	// AckWait is how long a record is lent to a process before the server gives it
	// to another one. It is extended while the record is worked on. The default is
	// 30 s, or what an existing consumer has. At least 100 ms.
	AckWait time.Duration

	// MaxDeliver ends the deliveries of a record after that many: the server then
	// leaves it in the stream, and nobody is told. The default is no limit: the
	// processor's own retry limit and dead letters do this better.
	MaxDeliver int

	// MaxInFlight is the number of records that are written and not yet
	// confirmed before Write blocks. The default is 4096. Whatever it is, Write
	// blocks at 16 MiB.
	MaxInFlight int
}

// Sync is when the embedded server flushes its files to the disk. Either way
// what is confirmed survives a kill -9 of the process: this is about the loss
// of power.
type Sync int

const (
	// EverySecond flushes in the background: a power loss may take about the last
	// second of confirmed records.
	EverySecond Sync = iota

	// SyncAlways flushes before each confirmation. It costs a disk flush per
	// record.
	SyncAlways
)

// Retention is how long a stream keeps records.
type Retention int

const (
	// UntilAcked keeps a record until every durable consumer has acknowledged it,
	// and everything for as long as no consumer has been created: nothing is lost
	// when readers start later than writers, and nothing stays after it was read.
	// A consumer that is new beside others gets what is still stored.
	//
	// JetStream has no such policy: the stream is created with that of Limits, and
	// the first consumer that reads all of it changes it to that of Interest.
	// Where all consumers read only some subjects it stays at Limits.
	UntilAcked Retention = iota

	// WorkQueue keeps a record until one consumer has acknowledged it. The server
	// refuses a second consumer of the same subject.
	WorkQueue

	// Interest keeps a record until every durable consumer has acknowledged it.
	// What is written while there is no consumer is dropped.
	Interest

	// Limits keeps records whether they were read or not, until MaxAge, MaxMsgs or
	// MaxBytes ends them.
	Limits
)

// String names the stream, as "nats:orders".
func (s Stream[T]) String() string { return "nats:" + s.Name }

// Decoder returns the decoder of T.
func (s Stream[T]) Decoder() (primitives.Decoder[T], error) { return primitives.DecoderOf(s.Codec) }

// Encoder returns the encoder of T. It errs when Subject has wildcards.
func (s Stream[T]) Encoder() (primitives.Encoder[T], error) {
	if hasWildcard(s.Subject) {
		return nil, fmt.Errorf("nats: stream %s: Subject %q has wildcards and can only be read: write to one subject of it", s.Name, s.Subject)
	}
	encode, err := primitives.EncoderOf(s.Codec, s.Key)
	if err != nil || s.MsgID == nil {
		return encode, err
	}
	return func(v T, out *primitives.Outputs) error {
		before := len(out.Records)
		if err := encode(v, out); err != nil {
			return err
		}
		id := primitives.Header{Name: natsgo.MsgIdHdr, Value: out.Take(append(out.Buffer(), s.MsgID(v)...))}
		for i := before; i < len(out.Records); i++ {
			r := &out.Records[i]
			r.Headers = append(r.Headers[:len(r.Headers):len(r.Headers)], id)
		}
		return nil
	}, nil
}

// Validate reports the fields that are filled in wrongly.
func (s Stream[T]) Validate() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf("nats: "+format, args...)) }
	switch {
	case s.Name == "":
		wrong("Name is empty: give the stream a name")
	case !isName(s.Name):
		wrong("Name %q: the name of a stream has no dots, blanks, wildcards or slashes: use %q, and Subject for a dotted subject", s.Name, replaceUnsafe(s.Name))
	}
	if s.Subject != "" && !isSubject(s.Subject) {
		wrong("Subject %q of stream %s: needs tokens with dots between them, without blanks", s.Subject, s.Name)
	}
	if s.Durable != "" && !isName(s.Durable) {
		wrong("Durable %q of stream %s has dots, blanks, wildcards or slashes: use %q", s.Durable, s.Name, replaceUnsafe(s.Durable))
	}
	if s.Retention < UntilAcked || s.Retention > Limits {
		wrong("Retention %d of stream %s: use UntilAcked, WorkQueue, Interest or Limits", s.Retention, s.Name)
	}
	if s.Sync < EverySecond || s.Sync > SyncAlways {
		wrong("Sync %d of stream %s: use EverySecond or SyncAlways", s.Sync, s.Name)
	}
	if s.AckWait != 0 && s.AckWait < minAckWait {
		wrong("AckWait %v of stream %s: use 0 for the default, or at least %v", s.AckWait, s.Name, minAckWait)
	}
	if s.Replicas < 0 || s.Replicas > 5 {
		wrong("Replicas %d of stream %s: use 1 to 5", s.Replicas, s.Name)
	}
	if s.MaxMsgs < 0 || s.MaxBytes < 0 || s.MaxAge < 0 || s.DedupeWindow < 0 || s.MaxDeliver < 0 || s.MaxInFlight < 0 {
		wrong("stream %s: MaxMsgs, MaxBytes, MaxAge, DedupeWindow, MaxDeliver and MaxInFlight are 0 for the default, or above", s.Name)
	}
	if (s.CertFile == "") != (s.KeyFile == "") {
		wrong("stream %s: CertFile and KeyFile go together", s.Name)
	}
	return errors.Join(errs...)
}

// OpenSource connects, creates the stream and the durable consumer where they do
// not exist, and returns a Reader with leases.
func (s Stream[T]) OpenSource(ctx context.Context, env *primitives.Env) (primitives.Reader, error) {
	if err := primitives.StartCodec(ctx, s.Codec); err != nil {
		return nil, fmt.Errorf("nats: open %s: %w", s.Name, err)
	}
	return openReader(ctx, s.config(), env)
}

// OpenSink connects, creates the stream where it does not exist, and returns a Writer.
func (s Stream[T]) OpenSink(ctx context.Context, env *primitives.Env) (primitives.Writer, error) {
	if err := primitives.StartCodec(ctx, s.Codec); err != nil {
		return nil, fmt.Errorf("nats: open %s: %w", s.Name, err)
	}
	return openWriter(ctx, s.config(), env)
}

// config is a Stream without its type.
type config struct {
	name, subject, durable string

	url                       string
	credentials, nkeyFile     string
	user, password, token     string
	tls                       *tls.Config
	caFile, certFile, keyFile string
	domain                    string
	options                   []natsgo.Option
	dir                       string
	sync                      Sync
	retention                 Retention
	replicas                  int
	maxMsgs, maxBytes         int64
	maxAge, dedupeWindow      time.Duration
	ackWait                   time.Duration
	maxDeliver, maxInFlight   int
	msgIDs                    bool
}

func (s Stream[T]) config() *config {
	c := &config{
		name: s.Name, subject: s.Subject, durable: s.Durable,
		url: s.URL, credentials: s.Credentials, nkeyFile: s.NKeyFile,
		user: s.User, password: s.Password, token: s.Token,
		tls: s.TLS, caFile: s.CAFile, certFile: s.CertFile, keyFile: s.KeyFile,
		domain: s.Domain, options: s.Options,
		dir: s.Dir, sync: s.Sync,
		retention: s.Retention, replicas: s.Replicas, maxMsgs: s.MaxMsgs, maxBytes: s.MaxBytes,
		maxAge: s.MaxAge, dedupeWindow: s.DedupeWindow,
		ackWait: s.AckWait, maxDeliver: s.MaxDeliver, maxInFlight: s.MaxInFlight,
		msgIDs: s.MsgID != nil,
	}
	if c.dir == "" {
		c.dir = "nats"
	}
	if c.maxInFlight == 0 {
		c.maxInFlight = 4096
	}
	return c
}

const (
	defaultAckWait      = 30 * time.Second
	minAckWait          = 100 * time.Millisecond
	defaultDedupeWindow = 2 * time.Minute // of the server
)

// isName reports whether s can name a stream or a consumer on every platform.
func isName(s string) bool { return s != "" && replaceUnsafe(s) == s }

func replaceUnsafe(s string) string {
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r == 0x7f || strings.ContainsRune(`.*>/\`, r) {
			return '_'
		}
		return r
	}, s)
}

func isSubject(s string) bool {
	for i, token := range strings.Split(s, ".") {
		if token == "" || strings.ContainsAny(token, " \t\r\n\f") {
			return false
		}
		if token == ">" && i != strings.Count(s, ".") {
			return false
		}
	}
	return true
}

func hasWildcard(subject string) bool {
	for token := range strings.SplitSeq(subject, ".") {
		if token == "*" || token == ">" {
			return true
		}
	}
	return false
}
