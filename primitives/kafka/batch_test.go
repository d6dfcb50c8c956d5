package kafka

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// batchAt makes a record batch with one record at an offset, which reached over more
// records once; or the marker of a transaction.
func batchAt(offset int64, more int32, marker bool) kmsg.RecordBatch {
	b := kmsg.NewRecordBatch()
	b.FirstOffset, b.LastOffsetDelta, b.Magic = offset, more, 2
	b.ProducerID, b.ProducerEpoch, b.FirstSequence = -1, -1, -1
	b.NumRecords = 1
	r := kmsg.NewRecord()
	r.Value = []byte("v")
	if marker {
		b.Attributes = 0x30 // transactional, control
		b.ProducerID, b.ProducerEpoch = 1, 0
		r.Key, r.Value = []byte{0, 0, 0, 1}, []byte{0, 0, 0, 0, 0, 0}
	}
	r.Length = int32(len(r.AppendTo(nil)) - 1)
	b.Records = r.AppendTo(nil)
	return b
}

func encodeBatch(b kmsg.RecordBatch) []byte {
	raw := b.AppendTo(nil)
	binary.BigEndian.PutUint32(raw[8:], uint32(len(raw)-12))
	binary.BigEndian.PutUint32(raw[17:], crc32.Checksum(raw[21:], crc32.MakeTable(crc32.Castagnoli)))
	return raw
}
