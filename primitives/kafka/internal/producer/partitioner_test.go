package producer

import (
	"fmt"
	"hash/crc32"
	"testing"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kgo"
)

// The values that the Java client's own tests expect.
func TestMurmur2Vectors(t *testing.T) {
	for key, want := range map[string]int32{
		"21":                         -973932308,
		"foobar":                     -790332482,
		"a-little-bit-long-string":   -985981536,
		"a-little-bit-longer-string": -1486304829,
		"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
		"abc": 479470107,
	} {
		if got := int32(murmur2([]byte(key))); got != want {
			t.Errorf("murmur2(%q) = %d, want %d", key, got, want)
		}
	}
}

func TestPartitionersAgreeWithOthers(t *testing.T) {
	java := kgo.StickyKeyPartitioner(nil).ForTopic("t")
	hash := sarama.NewHashPartitioner("t")
	for i := range 5000 {
		key := fmt.Appendf(nil, "key-%d", i*7919)[:i%12]
		for _, n := range []int32{1, 2, 6, 7, 100} {
			if got, want := Murmur2(key, n), int32(java.Partition(&kgo.Record{Key: key}, int(n))); len(key) > 0 && got != want {
				t.Fatalf("Murmur2(%q, %d) = %d, want %d", key, n, got, want)
			}
			want, err := hash.Partition(&sarama.ProducerMessage{Key: sarama.ByteEncoder(key)}, n)
			if err != nil {
				t.Fatal(err)
			}
			if got := FNV1a(key, n); got != want {
				t.Fatalf("FNV1a(%q, %d) = %d, want %d", key, n, got, want)
			}
			if got, want := CRC32(key, n), int32(crc32.ChecksumIEEE(key)%uint32(n)); got != want {
				t.Fatalf("CRC32(%q, %d) = %d, want %d", key, n, got, want)
			}
		}
	}
}
