package producer

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/IBM/sarama"
)

// Defaults of Config.
const (
	DefaultMaxMessageBytes = 1_000_000
	DefaultMaxBuffered     = 32 << 20
	DefaultTimeout         = 120 * time.Second

	DefaultTransactionTimeout = time.Minute
)

// Config says how records are written. Only Topic is required.
type Config struct {
	// Topic is the topic to write to.
	Topic string

	// Partitioner chooses the partition of a record with a key. Nil means Murmur2,
	// which the Java client uses. Records without a key go to one partition per
	// written batch, another one each time.
	Partitioner Partitioner

	// Compression of record batches. The default is none. CompressionLevel 0 is
	// the codec's own default.
	Compression      sarama.CompressionCodec
	CompressionLevel int

	// MaxMessageBytes bounds one record batch, before compression. The default is
	// 1,000,000 (a broker's own limit, max.message.bytes, is 1,048,588 unless
	// changed). A record that is larger by itself is refused for good.
	MaxMessageBytes int

	// MaxBuffered is the number of bytes, of keys, values and headers, that are
	// accepted and not yet confirmed. Beyond it Write blocks. The default is 32 MiB.
	MaxBuffered int

	// Timeout bounds how long a batch is tried, from Write on, with all retries.
	// The default is two minutes.
	Timeout time.Duration

	// TransactionTimeout is how long the broker lets a transaction stay open
	// before it aborts it. The default is one minute. Brokers refuse more than
	// their transaction.max.timeout.ms, 15 minutes.
	TransactionTimeout time.Duration

	// Logger is told of retries and of lost sequences. Nil means none.
	Logger *slog.Logger
}

func (c Config) withDefaults() (Config, error) {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("kafka: "+format, args...)) }
	if c.MaxMessageBytes < 0 || c.MaxMessageBytes > int(sarama.MaxRequestSize)-batchHeader {
		bad("MaxMessageBytes is %d: give a number of bytes up to %d, or 0 for %d", c.MaxMessageBytes, int(sarama.MaxRequestSize)-batchHeader, DefaultMaxMessageBytes)
	}
	if c.MaxBuffered < 0 {
		bad("MaxBuffered is %d: give a number of bytes, or 0 for %d", c.MaxBuffered, DefaultMaxBuffered)
	}
	if c.Timeout < 0 {
		bad("Timeout is %s: give a positive duration, or 0 for %s", c.Timeout, DefaultTimeout)
	}
	if c.TransactionTimeout < 0 {
		bad("TransactionTimeout is %s: give a positive duration, or 0 for %s", c.TransactionTimeout, DefaultTransactionTimeout)
	}
	if c.Compression < sarama.CompressionNone || c.Compression > sarama.CompressionZSTD {
		bad("Compression is %d: choose none, gzip, snappy, lz4 or zstd", c.Compression)
	}
	if err := errors.Join(errs...); err != nil {
		return c, err
	}
	if c.Partitioner == nil {
		c.Partitioner = Murmur2
	}
	if c.CompressionLevel == 0 {
		c.CompressionLevel = sarama.CompressionLevelDefault
	}
	if c.MaxMessageBytes == 0 {
		c.MaxMessageBytes = DefaultMaxMessageBytes
	}
	if c.MaxBuffered == 0 {
		c.MaxBuffered = DefaultMaxBuffered
	}
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.TransactionTimeout == 0 {
		c.TransactionTimeout = DefaultTransactionTimeout
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, nil
}
