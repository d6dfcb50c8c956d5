package memory

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"

	"github.com/flowkit-go/flow/primitives"
)

var (
	_ primitives.Reader      = (*replayReader)(nil)
	_ primitives.Partitioned = (*replayReader)(nil)
)

// A Replay is a source that delivers the same few records over and over, with
// growing offsets. It reads no log and allocates nothing per record, so that a
// benchmark measures what lies behind it. It keeps no progress: each reader
// starts at 0. With several processors or readers each gets everything.
type Replay[T any] struct {
	// Name is the source's. Default "replay".
	Name string

	// Records are delivered in turn, the first after the last. Their bytes must not
	// change. Needed.
	Records []primitives.Record

	// Count is the number of records per partition, after which the source ends.
	// Default 0: it never ends.
	Count int64

	// Partitions is how many lanes there are. Default 1.
	Partitions int

	// Burst is the number of records per Push at most. Default 1024.
	Burst int

	// Codec decodes the values. Default: what primitives.CodecFor chooses for T.
	Codec primitives.Codec[T]
}

// String returns "memory:" and the name.
func (s Replay[T]) String() string { return "memory:" + orElse(s.Name, "replay") }

// Decoder returns a decoder for the source's codec.
func (s Replay[T]) Decoder() (primitives.Decoder[T], error) { return primitives.DecoderOf(s.Codec) }

// Bounded reports whether Count is set.
func (s Replay[T]) Bounded() bool { return s.Count > 0 }

// Validate reports missing records and numbers that make no sense.
func (s Replay[T]) Validate() error {
	switch {
	case len(s.Records) == 0:
		return errors.New("memory: Records of a Replay are empty: give it at least one to repeat")
	case s.Count < 0 || s.Burst < 0 || s.Partitions < 0 || s.Partitions > math.MaxInt32:
		return fmt.Errorf("memory: Count %d, Burst %d and Partitions %d of a Replay must be 0 (the default) or more", s.Count, s.Burst, s.Partitions)
	}
	return nil
}

// OpenSource returns a reader that starts at the first record.
func (s Replay[T]) OpenSource(context.Context, *primitives.Env) (primitives.Reader, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	count := s.Count
	if count == 0 {
		count = math.MaxInt64
	}
	burst := orElse(s.Burst, defaultBursts)
	// Whole rounds, so that each burst begins with the first record.
	size := (burst + len(s.Records) - 1) / len(s.Records) * len(s.Records)
	return &replayReader{
		topic: orElse(s.Name, "replay"), records: s.Records, count: count,
		partitions: max(s.Partitions, 1), burst: burst, size: size,
	}, nil
}

type replayReader struct {
	topic      string
	records    []primitives.Record
	count      int64
	partitions int
	burst      int // records per Push
	size       int // of the block that bursts are cut from

	mu     sync.Mutex
	closed bool
}

func (r *replayReader) isClosed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.closed
}

// Run pushes to all partitions at once, each from a goroutine.
func (r *replayReader) Run(ctx context.Context, intake primitives.Intake) error {
	if r.isClosed() {
		return primitives.ErrClosed
	}
	errs := make([]error, r.partitions)
	var wg sync.WaitGroup
	for i := range r.partitions {
		lane := intake.Assign(primitives.Partition{Topic: r.topic, ID: int32(i)}, 0)
		wg.Go(func() { errs[i] = r.feed(ctx, lane) })
	}
	wg.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return errors.Join(errs...)
}

// feed pushes the block again and again, with new offsets each time.
func (r *replayReader) feed(ctx context.Context, lane primitives.Lane) error {
	block := make([]primitives.Record, 0, r.size)
	for len(block) < r.size {
		block = append(block, r.records...)
	}
	var offset int64
	for offset < r.count {
		block := block
		if left := r.count - offset; int64(len(block)) > left {
			block = block[:left]
		}
		for len(block) > 0 {
			burst := block[:min(len(block), r.burst)]
			for i := range burst {
				burst[i].Offset = offset
				offset++
			}
			for rest := burst; len(rest) > 0; {
				n, err := lane.Push(ctx, rest)
				if errors.Is(err, primitives.ErrDraining) || errors.Is(err, primitives.ErrReleased) {
					return nil // there is no membership to keep
				}
				if err != nil {
					return err
				}
				rest = rest[n:]
			}
			block = block[len(burst):]
		}
	}
	return nil
}

// Partitions returns all partitions.
func (r *replayReader) Partitions(context.Context) ([]primitives.Partition, error) {
	if r.isClosed() {
		return nil, primitives.ErrClosed
	}
	out := make([]primitives.Partition, r.partitions)
	for i := range out {
		out[i] = primitives.Partition{Topic: r.topic, ID: int32(i)}
	}
	return out, nil
}

// Commit forgets the positions.
func (r *replayReader) Commit(context.Context, []primitives.Commit) error {
	if r.isClosed() {
		return primitives.ErrClosed
	}
	return nil
}

// Close ends the reader.
func (r *replayReader) Close(context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	return nil
}
