package flow

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/flowkit-go/flow/primitives"
)

// The commands tail, send, replay and dlq look into the systems that a flow uses
// and mend what went wrong there. They run in a process of their own, beside the
// flow or while it is stopped, and start none of its processors.

// A session of a verb is what it works with. Close it.
type verbSession struct {
	flow *Flow
	cmd  *cobra.Command
	ctx  context.Context // ends with a signal
	stop context.CancelFunc
	env  primitives.Env // without a processor
}

// verbTimeout bounds the opening of a primitive.
const verbTimeout = 10 * time.Second

// session checks the flow and listens to signals.
func (f *Flow) session(cmd *cobra.Command) (*verbSession, error) {
	if err := f.Validate(); err != nil {
		return nil, usageError{err}
	}
	s := &verbSession{flow: f, cmd: cmd}
	s.ctx, s.stop = signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	s.env = primitives.Env{
		Flow: f.name, DataDir: primitives.DataDir(), Shared: &primitives.Shared{},
		Logger: slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	return s, nil
}

func (s *verbSession) close() { s.stop() }

// as is the environment of a primitive that a processor uses.
func (s *verbSession) as(p *Processor) *primitives.Env {
	env := s.env
	env.Processor = p.name()
	return &env
}

// opening calls open with a context that ends in time.
func opening[T any](s *verbSession, p *Processor, open func(context.Context, *primitives.Env) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeoutCause(s.ctx, verbTimeout, fmt.Errorf("no answer within %v", verbTimeout))
	defer cancel()
	v, err := open(ctx, s.as(p))
	if err != nil && errors.Is(err, context.DeadlineExceeded) && s.ctx.Err() == nil {
		err = fmt.Errorf("%w: %w", err, context.Cause(ctx))
	}
	return v, err
}

// browse opens a look at a resource.
func (s *verbSession) browse(r resource, p *Processor) (primitives.Browsing, error) {
	b, ok := r.value.(primitives.Browser)
	if !ok {
		return nil, usageError{fmt.Errorf("%s cannot be looked at without taking its records: its primitive is no primitives.Browser", r.name)}
	}
	return opening(s, p, b.Browse)
}

// closing is the end of something that was opened; its error joins the verb's.
func closing(c interface{ Close(context.Context) error }, err *error) {
	ctx, cancel := context.WithTimeout(context.Background(), verbTimeout)
	defer cancel()
	*err = errors.Join(*err, c.Close(ctx))
}

// write writes records, waits until they are durable, and returns which of them
// are not.
func (s *verbSession) write(ctx context.Context, w primitives.Writer, records []Raw) (failed map[int]error, err error) {
	result := make(chan error, 1)
	w.Write(ctx, records, func(err error) { result <- err })
	err = <-result
	var some *BatchError
	if errors.As(err, &some) {
		failed = map[int]error{}
		for _, f := range some.Failed {
			failed[f.Index] = f.Err
		}
	}
	return failed, err
}

// needs returns an Args function that wants at least n arguments, which usage names.
func needs(n, most int, usage string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < n || most >= 0 && len(args) > most {
			return usageError{fmt.Errorf("%s takes %s: see %s --help", cmd.CommandPath(), usage, cmd.CommandPath())}
		}
		return nil
	}
}

// noted adds to an error what was done before it, and keeps its exit code.
func noted(err error, told string) error {
	var usage usageError
	if errors.As(err, &usage) {
		return usageError{fmt.Errorf("%w (%s before)", usage.error, told)}
	}
	return fmt.Errorf("%w (%s before)", err, told)
}
