package nats

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"github.com/flowkit-go/flow/primitives"
)

// Headers that carry what a message has no place for.
const (
	keyHeader  = "Flow-Key"
	timeHeader = "Flow-Time" // RFC 3339 with nanoseconds, UTC

	// packedHeader carries keys and headers that NATS would alter, exactly: base64
	// of pairs of name and value, each with its length as a uvarint before it. The
	// key has the name Flow-Key. Headers that can travel as they are do so too, for
	// readers other than this one.
	packedHeader = "Flow-Headers"
)

// encodeHeaders adds to h what the record has besides its value. ids says that
// a message id among the headers is meant for the server.
func encodeHeaders(h natsgo.Header, r *primitives.Record, ids bool) {
	if !r.Time.IsZero() {
		h[timeHeader] = []string{r.Time.UTC().Format(time.RFC3339Nano)}
	}
	exact := true
	if r.Key != nil {
		if key := string(r.Key); isPlainValue(key) {
			h[keyHeader] = []string{key}
		} else {
			exact = false
		}
	}
	last := ""
	for _, f := range r.Headers {
		value := string(f.Value)
		if ids && f.Name == natsgo.MsgIdHdr {
			h[f.Name] = []string{value}
			continue
		}
		if !isPlainName(f.Name) || !isPlainValue(value) {
			exact = false
			continue
		}
		exact = exact && f.Name >= last // the order of names is lost on the way
		last = f.Name
		h[f.Name] = append(h[f.Name], value)
	}
	if exact {
		return
	}
	var packed []byte
	put := func(name string, value []byte) {
		packed = binary.AppendUvarint(packed, uint64(len(name)))
		packed = append(packed, name...)
		packed = binary.AppendUvarint(packed, uint64(len(value)))
		packed = append(packed, value...)
	}
	if r.Key != nil {
		put(keyHeader, r.Key)
	}
	for _, f := range r.Headers {
		if !ids || f.Name != natsgo.MsgIdHdr {
			put(f.Name, f.Value)
		}
	}
	h[packedHeader] = []string{base64.StdEncoding.EncodeToString(packed)}
}

// decodeHeaders fills in the record's key, time and headers.
func decodeHeaders(h natsgo.Header, r *primitives.Record) {
	if len(h) == 0 {
		return
	}
	var packed []primitives.Header
	for name, values := range h {
		if len(values) == 0 {
			continue
		}
		switch name {
		case keyHeader:
			if r.Key == nil {
				r.Key = []byte(values[0])
			}
			continue
		case timeHeader:
			if t, err := time.Parse(time.RFC3339Nano, values[0]); err == nil {
				r.Time = t
				continue
			}
		case packedHeader:
			if fields, err := unpack(values[0]); err == nil {
				packed = fields
				continue
			}
		}
		for _, v := range values {
			r.Headers = append(r.Headers, primitives.Header{Name: name, Value: []byte(v)})
		}
	}
	slices.SortStableFunc(r.Headers, func(a, b primitives.Header) int { return strings.Compare(a.Name, b.Name) })
	if packed == nil {
		return
	}
	if packed[0].Name == keyHeader {
		r.Key, packed = packed[0].Value, packed[1:]
	}
	exact := len(packed)
	for _, f := range r.Headers { // what someone added on the way
		if !slices.ContainsFunc(packed[:exact], func(p primitives.Header) bool { return p.Name == f.Name }) {
			packed = append(packed, f)
		}
	}
	r.Headers = nil
	if len(packed) > 0 {
		r.Headers = packed
	}
}

// unpack reads the value of packedHeader, which has at least one field.
func unpack(s string) ([]primitives.Header, error) {
	data, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return nil, err
	}
	take := func() ([]byte, bool) {
		n, size := binary.Uvarint(data)
		if size <= 0 || n > uint64(len(data)-size) {
			return nil, false
		}
		field := data[size : size+int(n) : size+int(n)]
		data = data[size+int(n):]
		return field, true
	}
	var fields []primitives.Header
	for len(data) > 0 {
		name, ok := take()
		value, also := take()
		if !ok || !also {
			return nil, errors.New("field cut short")
		}
		fields = append(fields, primitives.Header{Name: string(name), Value: value})
	}
	if fields == nil {
		return nil, errors.New("no fields")
	}
	return fields, nil
}

// isPlainName reports whether a header may have this name in NATS: a token of
// HTTP, and none that the client, the server or this package reads.
func isPlainName(name string) bool {
	if name == "" || name == "Status" || name == "Description" || hasPrefixFold(name, "Nats-") || hasPrefixFold(name, "Flow-") {
		return false
	}
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c >= 0x7f || strings.IndexByte("()<>@,;:\\\"/[]?={}", c) >= 0 {
			return false
		}
	}
	return true
}

// isPlainValue reports whether a value arrives as it was sent.
func isPlainValue(v string) bool {
	if v == "" {
		return true
	}
	if v[0] == ' ' || v[len(v)-1] == ' ' {
		return false
	}
	for i := range len(v) {
		if v[i] < ' ' || v[i] == 0x7f {
			return false
		}
	}
	return true
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

// delivery is what the ack subject of a message tells about it.
type delivery struct {
	count  int32 // deliveries of this message, with this one
	number int64 // of this delivery among all of the consumer
	stored time.Time
}

// parseDelivery reads an ack subject, of which there are two forms:
//
//	$JS.ACK.STREAM.CONSUMER.COUNT.STREAMSEQ.CONSUMERSEQ.NANOSECONDS.PENDING
//	$JS.ACK.DOMAIN.ACCOUNT.STREAM.CONSUMER.COUNT.STREAMSEQ.CONSUMERSEQ.NANOSECONDS.PENDING[.MORE]
//
// The tokens are those that the JetStream protocol documents (ADR-15).
func parseDelivery(subject string) (d delivery, ok bool) {
	const v1, v2 = 9, 11
	if !strings.HasPrefix(subject, "$JS.ACK.") {
		return d, false
	}
	skip := 4
	switch n := strings.Count(subject, ".") + 1; {
	case n == v1:
	case n >= v2:
		skip = 6
	default:
		return d, false
	}
	for range skip {
		subject = subject[strings.IndexByte(subject, '.')+1:]
	}
	next := func() int64 {
		token, rest, _ := strings.Cut(subject, ".")
		subject = rest
		n, err := strconv.ParseInt(token, 10, 64)
		if err != nil {
			ok = false
		}
		return n
	}
	ok = true
	d.count = int32(min(next(), 1<<31-1))
	next()
	d.number = next()
	d.stored = time.Unix(0, next())
	return d, ok
}

// toRecord makes a record of a message, which it keeps as its lease. Its offset
// is the number of the delivery: unlike the position in the stream it grows when
// a record is delivered again.
func toRecord(m *natsgo.Msg) (primitives.Record, bool) {
	d, ok := parseDelivery(m.Reply)
	if !ok {
		return primitives.Record{}, false
	}
	r := primitives.Record{Value: m.Data, Time: d.stored, Offset: d.number, Attempt: d.count, Lease: m}
	decodeHeaders(m.Header, &r)
	return r, true
}
