package flow

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/flowkit-go/flow/autoscale/keda"
	"github.com/flowkit-go/flow/primitives"
)

// groups gives each processor whose source can tell how far all processes are the
// group to ask, and returns them.
func (s *verbSession) groups(processors []keda.Processor) []*group {
	var all []*group
	for i, p := range s.flow.processors {
		read := p.with(reads)
		if len(read) != 1 {
			continue
		}
		source, ok := read[0].value.(primitives.Replayer)
		if !ok {
			continue
		}
		g := &group{s: s, p: p, source: source}
		all = append(all, g)
		processors[i].Group = g
	}
	return all
}

// group is what a source's system knows of all processes. It is opened when it is first
// asked, and anew after an error.
type group struct {
	s        *verbSession
	p        *Processor
	source   primitives.Replayer
	progress primitives.Progress
}

var _ keda.Group = (*group)(nil)

// Standing implements keda.Group.
func (g *group) Standing(ctx context.Context) (st keda.Standing, err error) {
	if g.progress == nil {
		if g.progress, err = g.source.OpenProgress(ctx, g.s.as(g.p)); err != nil {
			return st, g.late(ctx, err)
		}
	}
	if st, err = g.ask(ctx); err != nil {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		return st, errors.Join(g.late(ctx, err), g.Close(closing))
	}
	return st, nil
}

// late adds why the context ended.
func (g *group) late(ctx context.Context, err error) error {
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() != nil {
		return fmt.Errorf("%w: %w", err, context.Cause(ctx))
	}
	return err
}

func (g *group) ask(ctx context.Context) (st keda.Standing, err error) {
	b, ok := g.progress.(primitives.Backlogger)
	if !ok {
		return st, fmt.Errorf("%s: %w", g.progress, keda.ErrNotTold)
	}
	waiting, err := b.Backlog(ctx)
	if err != nil {
		return st, err
	}
	st = keda.Standing{Committed: map[string]int64{}, Waiting: map[string]int64{}, Members: -1}
	for _, w := range waiting {
		st.Waiting[w.Partition.String()] = w.Records
	}
	if _, lends := g.progress.(primitives.Lending); lends {
		return st, nil // the processes know the rest
	}
	committed, err := g.progress.Committed(ctx)
	if err != nil {
		return st, err
	}
	members, err := g.progress.Members(ctx)
	if err != nil {
		return st, err
	}
	st.Members = len(members)
	for _, c := range committed {
		st.Committed[c.Partition.String()] = c.Next
	}
	return st, nil
}

// Close closes what was opened.
func (g *group) Close(ctx context.Context) error {
	if g.progress == nil {
		return nil
	}
	err := g.progress.Close(ctx)
	g.progress = nil
	return err
}
