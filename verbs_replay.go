package flow

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/flowkit-go/flow/primitives"
)

// replayCommand sets the progress of a consumer.
func (f *Flow) replayCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "replay CONSUMER --from PLACE", Short: "Make a stopped consumer read again, or skip, from a place in its source",
		Long: `Set where a consumer begins when it is started next, and show the positions before
and after. No process may run the consumer meanwhile: it would overwrite what is set
here. Positions outside of what is stored are moved to its ends.`,
		Example: "  replay bill --from earliest\n  replay bill --from 2026-11-20\n  replay bill --from 3@812 --from 4@790",
		Args:    needs(1, 1, "one consumer"),
		RunE:    f.runReplay,
	}
	cmd.Flags().StringArray("from", nil, placeUsage+"; or partition@offset for one partition, which may be repeated")
	cmd.Flags().Bool("dry-run", false, "show what would be set and set nothing")
	return cmd
}

func (f *Flow) runReplay(cmd *cobra.Command, args []string) (err error) {
	from, _ := cmd.Flags().GetStringArray("from")
	dry, _ := cmd.Flags().GetBool("dry-run")
	choose, err := placesOf(from)
	if err != nil {
		return err
	}
	s, err := f.session(cmd)
	if err != nil {
		return err
	}
	defer s.close()
	p, err := f.processorNamed(args[0])
	if err != nil {
		return err
	}
	sources := p.with(reads)
	if len(sources) != 1 {
		return usageError{fmt.Errorf("the %s %q reads no source: only a consumer has a place to begin at", p.kind, p.name())}
	}
	source := sources[0]
	replayer, ok := source.value.(primitives.Replayer)
	if !ok {
		return usageError{fmt.Errorf("the progress of %s cannot be set: its primitive is no primitives.Replayer", source.name)}
	}
	look, err := s.browse(source, p)
	if err != nil {
		return err
	}
	defer closing(look, &err)
	progress, err := opening(s, p, replayer.OpenProgress)
	if err != nil {
		return err
	}
	defer closing(progress, &err)
	members, err := progress.Members(s.ctx)
	if err != nil {
		return err
	}
	inUse := func(members []string) error {
		return usageError{fmt.Errorf("%q is running: %s reads %s (%s): stop it, then replay", p.name(), progress, source.name, strings.Join(members, ", "))}
	}
	if len(members) > 0 && !dry {
		return inUse(members)
	}
	to, err := choose(s, look)
	if err != nil {
		return err
	}
	before, err := progress.Committed(s.ctx)
	if err != nil {
		return err
	}
	if !dry {
		if err := progress.Reset(s.ctx, to); errors.Is(err, primitives.ErrInUse) { // it has just been started
			return inUse([]string{err.Error()})
		} else if err != nil {
			return err
		}
	}
	return tellReplay(cmd, progress, before, to, dry)
}

// placesOf makes, of what --from says, a function that chooses the positions.
func placesOf(from []string) (func(*verbSession, primitives.Browsing) ([]primitives.Commit, error), error) {
	if len(from) == 0 {
		return nil, usageError{fmt.Errorf("--from is missing: want %s; or partition@offset", placeUsage)}
	}
	if len(from) == 1 && !strings.Contains(from[0], "@") {
		where, err := parsePlace(from[0], time.Now())
		return func(s *verbSession, look primitives.Browsing) ([]primitives.Commit, error) {
			spans, err := where.spans(s.ctx, look)
			var to []primitives.Commit
			for _, span := range spans {
				to = append(to, primitives.Commit{Partition: span.Partition, Next: span.From})
			}
			return to, err
		}, err
	}
	var positions []position
	for _, text := range from {
		pos, err := parsePosition(text)
		if err == nil && (pos.first != pos.last || pos.partition == "") {
			err = usageError{fmt.Errorf("--from %q: several of them are partition@offset each, as 3@812", text)}
		}
		if err != nil {
			return nil, err
		}
		positions = append(positions, pos)
	}
	return func(s *verbSession, look primitives.Browsing) ([]primitives.Commit, error) {
		spans, err := look.Spans(s.ctx, time.Time{})
		if err != nil {
			return nil, err
		}
		var to []primitives.Commit
		for _, pos := range positions {
			part, err := pos.in(spans)
			if err != nil {
				return nil, err
			}
			if slices.ContainsFunc(to, func(c primitives.Commit) bool { return c.Partition == part }) {
				return nil, usageError{fmt.Errorf("--from names partition %s twice", part)}
			}
			for _, span := range spans {
				if span.Partition == part {
					to = append(to, primitives.Commit{Partition: part, Next: min(max(pos.first, span.From), span.To)})
				}
			}
		}
		return to, nil
	}, nil
}

// tellReplay prints the positions before and after.
func tellReplay(cmd *cobra.Command, progress primitives.Progress, before, to []primitives.Commit, dry bool) error {
	w := cmd.OutOrStdout()
	if dry {
		fmt.Fprintf(w, "%s would be set to\n", progress)
	} else {
		fmt.Fprintf(w, "%s is set to\n", progress)
	}
	tab := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, c := range to {
		was := "nothing committed"
		for _, b := range before {
			if b.Partition == c.Partition {
				was = fmt.Sprintf("was %d, %+d", b.Next, c.Next-b.Next)
			}
		}
		fmt.Fprintf(tab, "  %s@%d\t(%s)\n", c.Partition, c.Next, was)
	}
	return tab.Flush()
}
