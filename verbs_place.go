package flow

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/flowkit-go/flow/primitives"
)

// A place says where in a source to begin, in each of its partitions.
type place struct {
	earliest, latest bool
	at               time.Time
	offset           int64 // -1: none
}

const placeUsage = "earliest, latest, an offset, a time as 2006-01-02T15:04:05Z, a day, or a duration as 1h for that long ago"

// parsePlace reads a place as flags give it.
func parsePlace(s string, now time.Time) (place, error) {
	p := place{offset: -1}
	switch s {
	case "earliest":
		p.earliest = true
		return p, nil
	case "latest":
		p.latest = true
		return p, nil
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil && n >= 0 {
		p.offset = n
		return p, nil
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		p.at = now.Add(-d)
		return p, nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02 15:04:05", "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, s, now.Location()); err == nil {
			p.at = t
			return p, nil
		}
	}
	return p, usageError{fmt.Errorf("--from %q: want %s", s, placeUsage)}
}

// spans are the parts of a primitive from the place on to what is stored now.
func (p place) spans(ctx context.Context, b primitives.Browsing) ([]primitives.Span, error) {
	spans, err := b.Spans(ctx, p.at)
	if err != nil {
		return nil, err
	}
	for i := range spans {
		switch {
		case p.latest:
			spans[i].From = spans[i].To
		case p.offset >= 0:
			spans[i].From = min(max(p.offset, spans[i].From), spans[i].To)
		}
	}
	return spans, nil
}

// A position is one record, or a run of them, in one partition.
type position struct {
	partition string // "3" or "orders/3"; empty: the only one
	first     int64
	last      int64
}

// parsePosition reads a position as people write it: "812", "3@812", "3@812-820"
// or "orders/3@812".
func parsePosition(s string) (position, error) {
	var p position
	offsets := s
	if i := strings.LastIndexByte(s, '@'); i >= 0 {
		p.partition, offsets = s[:i], s[i+1:]
	}
	first, last, ranged := strings.Cut(offsets, "-")
	var err error
	if p.first, err = strconv.ParseInt(first, 10, 64); err == nil {
		if p.last = p.first; ranged {
			p.last, err = strconv.ParseInt(last, 10, 64)
		}
	}
	id := p.partition[strings.LastIndexByte(p.partition, '/')+1:]
	if _, bad := strconv.ParseUint(id, 10, 31); strings.ContainsRune(s, '@') && bad != nil {
		err = bad
	}
	if err != nil || p.first < 0 || p.last < p.first {
		return p, usageError{fmt.Errorf("%q is no position: want one as 3@812 (partition and offset), orders/3@812, or 3@812-820", s)}
	}
	return p, nil
}

// in returns the partition that is meant, one of those of the spans.
func (p position) in(spans []primitives.Span) (primitives.Partition, error) {
	var found []primitives.Partition
	var all []string
	for _, s := range spans {
		name := s.Partition.String()
		all = append(all, name)
		if p.partition == "" || p.partition == name || p.partition == strconv.Itoa(int(s.Partition.ID)) {
			found = append(found, s.Partition)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) == 0:
		return primitives.Partition{}, usageError{fmt.Errorf("there is no partition %q: use one of %s", p.partition, quoted(all))}
	}
	return primitives.Partition{}, usageError{fmt.Errorf("%d partitions can be meant: write the position as %s@%d", len(found), found[0], p.first)}
}
