package producer

import "hash/crc32"

// A Partitioner returns the partition, from 0 to partitions-1, of a record with
// that key. It is called from many goroutines. Records whose key is nil, and
// those with an explicit partition, do not come to it.
type Partitioner func(key []byte, partitions int32) int32

// Murmur2 is the default of the Java client: the 32-bit murmur2 hash of the key
// with the seed of that client, its sign bit cleared, modulo the partitions.
func Murmur2(key []byte, partitions int32) int32 {
	return int32(murmur2(key)&0x7fffffff) % partitions
}

// FNV1a is the default of sarama's hash partitioner: the 32-bit FNV-1a hash as a
// signed number modulo the partitions, made positive.
func FNV1a(key []byte, partitions int32) int32 {
	h := uint32(2166136261)
	for _, c := range key {
		h = (h ^ uint32(c)) * 16777619
	}
	p := int32(h) % partitions
	if p < 0 {
		return -p
	}
	return p
}

// CRC32 is librdkafka's consistent partitioner: the CRC-32 (IEEE) of the key
// modulo the partitions.
func CRC32(key []byte, partitions int32) int32 {
	return int32(crc32.ChecksumIEEE(key) % uint32(partitions))
}

// murmur2 is Austin Appleby's MurmurHash2 with the seed that Kafka has chosen.
func murmur2(b []byte) uint32 {
	const (
		seed = 0x9747b28c
		m    = 0x5bd1e995
	)
	h := uint32(seed) ^ uint32(len(b))
	for ; len(b) >= 4; b = b[4:] {
		k := uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
		k *= m
		k ^= k >> 24
		h = h*m ^ k*m
	}
	for i := len(b) - 1; i >= 0; i-- {
		h ^= uint32(b[i]) << (8 * i)
		if i == 0 {
			h *= m
		}
	}
	h ^= h >> 13
	h *= m
	return h ^ h>>15
}
