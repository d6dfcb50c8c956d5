package sqlite

import (
	"database/sql/driver"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"reflect"
	"time"
)

// A row on its way to the writer is a version byte, the number of columns, and
// per column a tag and the value:
//
//	null   nothing
//	int    a signed varint
//	float  8 bytes, little endian
//	text   the length as a varint, then the bytes
//	blob   the same
const rowVersion = 1

const (
	tagNull byte = iota
	tagInt
	tagFloat
	tagText
	tagBlob
)

// appendRow appends the row that v, a struct with these columns, becomes.
func appendRow(row []byte, columns []column, v reflect.Value) ([]byte, error) {
	row = append(row, rowVersion)
	row = binary.AppendUvarint(row, uint64(len(columns)))
	for i := range columns {
		c := &columns[i]
		field := v.Field(c.index[0])
		for _, at := range c.index[1:] {
			field = field.Field(at)
		}
		var err error
		if row, err = c.append(row, field); err != nil {
			return row, fmt.Errorf("field %s: %w", c.field, err)
		}
	}
	return row, nil
}

func appendNull(row []byte) []byte { return append(row, tagNull) }

func appendInt(row []byte, v int64) []byte {
	return binary.AppendVarint(append(row, tagInt), v)
}

func appendFloat(row []byte, v float64) []byte {
	return binary.LittleEndian.AppendUint64(append(row, tagFloat), math.Float64bits(v))
}

func appendText[S string | []byte](row []byte, v S) []byte {
	row = binary.AppendUvarint(append(row, tagText), uint64(len(v)))
	return append(row, v...)
}

func appendBlob(row, v []byte) []byte {
	row = binary.AppendUvarint(append(row, tagBlob), uint64(len(v)))
	return append(row, v...)
}

func appendTime(row []byte, t time.Time) []byte {
	row = binary.AppendUvarint(append(row, tagText), uint64(len(timeLayout)))
	return t.AppendFormat(row, timeLayout)
}

var errRow = errors.New("not a row of this table: was it encoded by another table or version?")

// decodeRow sets the values of args from a row, which must have as many
// columns. Blobs refer to the row's bytes.
func decodeRow(row []byte, args []driver.NamedValue) error {
	if len(row) == 0 || row[0] != rowVersion {
		return errRow
	}
	n, size := binary.Uvarint(row[1:])
	if size <= 0 || n != uint64(len(args)) {
		return errRow
	}
	rest := row[1+size:]
	for i := range args {
		if len(rest) == 0 {
			return errRow
		}
		tag := rest[0]
		rest = rest[1:]
		switch tag {
		case tagNull:
			args[i].Value = nil
		case tagInt:
			v, size := binary.Varint(rest)
			if size <= 0 {
				return errRow
			}
			args[i].Value = v
			rest = rest[size:]
		case tagFloat:
			if len(rest) < 8 {
				return errRow
			}
			args[i].Value = math.Float64frombits(binary.LittleEndian.Uint64(rest))
			rest = rest[8:]
		case tagText, tagBlob:
			length, size := binary.Uvarint(rest)
			if size <= 0 || length > uint64(len(rest)-size) {
				return errRow
			}
			v := rest[size : size+int(length)]
			rest = rest[size+int(length):]
			if tag == tagText {
				args[i].Value = string(v)
			} else {
				args[i].Value = v
			}
		default:
			return errRow
		}
	}
	if len(rest) > 0 {
		return errRow
	}
	return nil
}
