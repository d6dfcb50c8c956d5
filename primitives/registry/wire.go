package registry

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// The wire format is that of Confluent's serializers: a magic byte, the schema's
// id, big endian, and for Protobuf the indexes of the message. See
// https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format
const (
	magic      = 0
	headerSize = 5
)

// appendHeader appends magic byte and id.
func appendHeader(dst []byte, id int) []byte {
	return binary.BigEndian.AppendUint32(append(dst, magic), uint32(id))
}

// cutHeader returns the id and what follows the header.
func cutHeader(value []byte) (id int, rest []byte, err error) {
	switch {
	case len(value) < headerSize:
		return 0, nil, fmt.Errorf("%d bytes are too few for a schema's id: was this written with a schema registry?", len(value))
	case value[0] != magic:
		return 0, nil, fmt.Errorf("the first byte is %#02x, want 0: was this written with a schema registry?", value[0])
	}
	return int(binary.BigEndian.Uint32(value[1:])), value[headerSize:], nil
}

// appendIndexes appends the place of a message in its file: the index of a message
// at the top, of one nested in it, and so on. The first message is a single zero.
func appendIndexes(dst []byte, indexes []int) []byte {
	if len(indexes) == 1 && indexes[0] == 0 {
		return append(dst, 0)
	}
	dst = binary.AppendVarint(dst, int64(len(indexes)))
	for _, i := range indexes {
		dst = binary.AppendVarint(dst, int64(i))
	}
	return dst
}

var errIndexes = errors.New("the indexes of the message are not readable")

// maxDepth bounds how deeply messages are nested.
const maxDepth = 100

// cutIndexes returns the indexes as they stand, and what follows them.
func cutIndexes(value []byte) (raw, rest []byte, err error) {
	count, n := binary.Varint(value)
	if n <= 0 || count < 0 || count > maxDepth {
		return nil, nil, errIndexes
	}
	for range count {
		i, m := binary.Varint(value[n:])
		if m <= 0 || i < 0 || i > math.MaxInt32 {
			return nil, nil, errIndexes
		}
		n += m
	}
	return value[:n], value[n:], nil
}

// indexesOf reads what cutIndexes has found.
func indexesOf(raw []byte) []int {
	count, n := binary.Varint(raw)
	if count == 0 {
		return []int{0}
	}
	indexes := make([]int, 0, count)
	for range count {
		i, m := binary.Varint(raw[n:])
		indexes = append(indexes, int(i))
		n += m
	}
	return indexes
}
