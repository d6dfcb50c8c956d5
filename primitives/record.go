package primitives

import (
	"fmt"
	"time"
)

// A Record is one message, row or event on its way through a flow, with its
// payload still encoded. The zero value is an empty record.
//
// Once a record has been pushed to a [Lane] or handed to a [Writer], the bytes
// that Key, Value and Headers point to must not change until it is resolved.
type Record struct {
	Key     []byte
	Value   []byte
	Headers []Header

	// Time is when the event happened, or when the source stored it. The zero
	// time means that it is not known.
	Time time.Time

	// Offset is the record's position in its partition. Offsets of a partition
	// grow, but need not be consecutive. A queue without positions numbers its
	// records as it reads them. In a record given to a Writer it is zero.
	Offset int64

	// Partition is where the record was read; the runtime sets it before anything
	// else sees the record. Nil in a record given to a Writer.
	Partition *Partition

	// Attempt counts the deliveries of the record, 1 for the first. A source
	// that does not know leaves it 0; the runtime goes on counting from there.
	Attempt int32

	// Route tells the writers of a tee apart. Only the tee sets and reads it.
	Route int32

	// Lease is what a Reader with leases needs to acknowledge, extend or release
	// this record; nil for sources with positions. The runtime only hands it back.
	Lease any
}

// A Header is one name and value of a record's metadata. Names may repeat.
type Header struct {
	Name  string
	Value []byte
}

// Header returns the value of the first header of that name, and whether there is one.
func (r *Record) Header(name string) ([]byte, bool) {
	for _, h := range r.Headers {
		if h.Name == name {
			return h.Value, true
		}
	}
	return nil, false
}

// Size is the number of bytes that the record counts against a byte budget:
// its key, value and headers, and a fixed amount for the record itself.
func (r *Record) Size() int {
	n := recordOverhead + len(r.Key) + len(r.Value)
	for _, h := range r.Headers {
		n += len(h.Name) + len(h.Value)
	}
	return n
}

// recordOverhead is about what a Record takes in memory besides its bytes.
const recordOverhead = 128

// A Partition names one ordered part of a source: a partition of a topic, or
// the whole of a queue that has none (ID 0).
type Partition struct {
	Topic string
	ID    int32
}

// String gives the form used in logs and errors: "orders/3".
func (p Partition) String() string { return fmt.Sprintf("%s/%d", p.Topic, p.ID) }
