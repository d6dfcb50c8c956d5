package flowotel

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/flowkit-go/flow"
)

// Consumer returns middleware that makes a span of each call of a handler, named by
// the processor, as "bill process". Its parent is the span that the record came with;
// a batch has links to those of its records instead. What the handler returns goes on
// with the span's context in its headers. An attempt is a span of its own.
//
// The span covers decoding, the handler and encoding, not the write that follows: a
// sink that fails later is in metrics and logs.
func Consumer(opts ...Option) flow.Middleware {
	s := settle(opts)
	known := &kinds{constant: append([]attribute.KeyValue{operationType, keyOperationName.String(operation)}, s.messaging...)}
	return func(next flow.Next) flow.Next {
		return func(ctx context.Context, d *flow.Delivery) error {
			ctx, span := s.start(ctx, d, known)
			if d.Outputs == nil {
				return s.end(span, d, 0, func() error { return next(ctx, d) })
			}
			mark := len(d.Outputs.Records)
			if flush := d.Outputs.Flush; flush != nil { // a stream is written in parts
				d.Outputs.Flush = func() error {
					s.inject(ctx, d.Outputs.Records[mark:])
					err := flush()
					mark = len(d.Outputs.Records)
					return err
				}
				defer func() { d.Outputs.Flush = flush }()
			}
			return s.end(span, d, mark, func() error {
				err := next(ctx, d)
				if err == nil && mark <= len(d.Outputs.Records) {
					s.inject(ctx, d.Outputs.Records[mark:])
				}
				return err
			})
		}
	}
}

// start begins the span of one delivery.
func (s *settings) start(ctx context.Context, d *flow.Delivery, known *kinds) (context.Context, trace.Span) {
	what := known.of(d.Processor, destination(d))
	opts := what.opts
	if len(d.Records) == 1 {
		ctx = s.extract(ctx, &d.Records[0])
	} else {
		opts = append(slices.Clip(opts), trace.WithLinks(s.links(d.Records)...))
	}
	ctx, span := s.tracer.Start(ctx, what.name, opts...)
	if !span.IsRecording() {
		return ctx, span
	}
	span.SetAttributes(keyProcessor.String(d.Processor))
	system := s.system
	if system == "" && d.Source != "" {
		system, _, _ = strings.Cut(d.Source, ":")
		span.SetAttributes(keySystem.String(system))
	}
	if len(d.Records) != 1 {
		span.SetAttributes(keyBatchCount.Int(len(d.Records)))
		return ctx, span
	}
	r := &d.Records[0]
	offset := keyOffset
	if system == systemKafka {
		offset = keyKafkaOffset
	}
	span.SetAttributes(offset.Int64(r.Offset), keyAttempt.Int(int(r.Attempt)), keyBodySize.Int(len(r.Value)))
	if r.Partition != nil {
		span.SetAttributes(keyPartition.String(strconv.Itoa(int(r.Partition.ID))))
	}
	return ctx, span
}

// destination returns the topic of the records, empty if they are not all of one.
func destination(d *flow.Delivery) (topic string) {
	for i := range d.Records {
		switch p := d.Records[i].Partition; {
		case p == nil:
			return ""
		case i == 0:
			topic = p.Topic
		case p.Topic != topic:
			return ""
		}
	}
	return topic
}

// end calls fn and ends the span by what comes of it. A panic goes on.
func (s *settings) end(span trace.Span, d *flow.Delivery, mark int, fn func() error) (err error) {
	returned := false
	defer func() {
		if !returned {
			span.SetStatus(codes.Error, "the handler panicked")
			span.SetAttributes(keyErrorType.String("panic"))
		}
		span.End()
	}()
	err = fn()
	returned = true
	if !span.IsRecording() {
		return err
	}
	var named *flow.BatchError
	switch {
	case err == nil:
		if d.Outputs != nil {
			span.SetAttributes(keyOutputs.Int(max(len(d.Outputs.Records)-mark, 0)))
		}
	case errors.Is(err, flow.Skip) && !errors.As(err, &named):
		span.SetAttributes(keyOutcome.String("skipped"))
	default:
		span.RecordError(err)
		span.SetStatus(codes.Error, err.Error())
		span.SetAttributes(errorType(err))
	}
	return err
}
