package flow

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/flowkit-go/flow/primitives"
)

// tailCommand shows records without taking them.
func (f *Flow) tailCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "tail PROCESSOR|PRIMITIVE", Short: "Show the records of a source or sink, and those that come, without taking them",
		Long: `Show the last records of what a processor reads, or of a primitive by its name
(kafka:orders, or orders), and then those that come, until Ctrl-C. No record is
taken away from anyone and no progress changes.`,
		Example: "  tail bill\n  tail kafka:orders --from 1h --follow=false --format json",
		Args:    needs(1, 1, "one processor or primitive"),
		RunE:    f.runTail,
	}
	cmd.Flags().String("from", "", "begin there: "+placeUsage)
	cmd.Flags().IntP("records", "n", 10, "begin with so many of the last records; with --from, end after so many")
	cmd.Flags().Bool("follow", true, "go on with the records that come; otherwise end with what is stored now")
	cmd.Flags().String("format", "text", strings.Join(showFormats, ", "))
	return cmd
}

// errEnough ends a read from within.
var errEnough = errors.New("enough")

func (f *Flow) runTail(cmd *cobra.Command, args []string) (err error) {
	from, _ := cmd.Flags().GetString("from")
	n, _ := cmd.Flags().GetInt("records")
	follow, _ := cmd.Flags().GetBool("follow")
	format, _ := cmd.Flags().GetString("format")
	if !slices.Contains(showFormats, format) {
		return usageError{fmt.Errorf("--format %q: want one of %s", format, strings.Join(showFormats, ", "))}
	}
	if n < 0 {
		return usageError{fmt.Errorf("--records %d: want 0 or more", n)}
	}
	var begin place
	if from != "" {
		if begin, err = parsePlace(from, time.Now()); err != nil {
			return err
		}
	}
	s, err := f.session(cmd)
	if err != nil {
		return err
	}
	defer s.close()
	res, p, err := f.resourceNamed(args[0])
	if err != nil {
		return err
	}
	look, err := s.browse(res, p)
	if err != nil {
		return err
	}
	defer closing(look, &err)

	print := printer(cmd.OutOrStdout(), format)
	var spans []primitives.Span
	if from == "" {
		spans, err = tailOf(s.ctx, look, n, print)
		if !follow {
			spans = nil
		}
	} else {
		spans, err = begin.spans(s.ctx, look)
		if limited := cmd.Flags().Changed("records"); limited {
			print = limit(n, print)
		}
	}
	if err == nil && follow {
		for i := range spans {
			spans[i].To = primitives.Endless
		}
	}
	if err == nil && len(spans) > 0 {
		err = look.Read(s.ctx, spans, print)
	}
	if errors.Is(err, errEnough) || s.ctx.Err() != nil {
		return nil
	}
	return err
}

// printer prints records, a line at a time.
func printer(w io.Writer, format string) func(Raw) error {
	return func(r Raw) error {
		line := bufio.NewWriter(w) // one write per record, however long
		if err := show(line, format, &r); err != nil {
			return err
		}
		return line.Flush()
	}
}

// limit ends a read after n records.
func limit(n int, each func(Raw) error) func(Raw) error {
	return func(r Raw) error {
		if n <= 0 {
			return errEnough
		}
		n--
		if err := each(r); err != nil {
			return err
		}
		if n == 0 {
			return errEnough
		}
		return nil
	}
}

// tailOf gives the last n records in the order of their times, and returns the
// spans that follow them.
func tailOf(ctx context.Context, look primitives.Browsing, n int, each func(Raw) error) (rest []primitives.Span, err error) {
	all, err := look.Spans(ctx, time.Time{})
	if err != nil {
		return nil, err
	}
	rest = make([]primitives.Span, len(all))
	for i, s := range all {
		rest[i] = primitives.Span{Partition: s.Partition, From: s.To, To: s.To}
	}
	if n == 0 {
		return rest, nil
	}
	var last []Raw
	for _, s := range all {
		part, err := lastOf(ctx, look, s, n)
		if err != nil {
			return nil, err
		}
		last = append(last, part...)
	}
	// In a partition the order is that of the positions, whatever the times say.
	latest := map[primitives.Partition]time.Time{}
	times := make([]time.Time, len(last))
	order := make([]int, len(last))
	for i := range last {
		if t := latest[*last[i].Partition]; last[i].Time.After(t) {
			latest[*last[i].Partition] = last[i].Time
		}
		times[i], order[i] = latest[*last[i].Partition], i
	}
	slices.SortStableFunc(order, func(a, b int) int { return times[a].Compare(times[b]) })
	for _, i := range order[max(0, len(order)-n):] {
		if err := each(last[i]); err != nil {
			return nil, err
		}
	}
	return rest, nil
}

// lastOf returns up to n records from the end of a span. Positions may be without a
// record, so it looks further back until it has enough.
func lastOf(ctx context.Context, look primitives.Browsing, s primitives.Span, n int) (last []Raw, err error) {
	for back := int64(n); ; back *= 8 {
		part := s
		if s.To-back > s.From {
			part.From = s.To - back
		}
		last = last[:0]
		collect := func(r Raw) error { last = append(last, r); return nil }
		if err := look.Read(ctx, []primitives.Span{part}, collect); err != nil {
			return nil, err
		}
		if len(last) >= n || part.From == s.From {
			return last[max(0, len(last)-n):], nil
		}
	}
}
