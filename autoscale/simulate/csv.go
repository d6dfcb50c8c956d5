package simulate

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
)

// ParseCSV reads a trace from rows of
//
//	seconds,rate[,capacity_factor[,failing_share[,shared_limit]]]
//
// which are the fields of a Point, in order of seconds. A row holds until the next
// one, and the last one ends the trace. What a row leaves out or leaves empty is 1
// for the factor and 0 for the others. A first row with these names, lines that begin
// with # and empty lines are passed over.
//
// An error names file, line and column, and what is wanted there. A trace of one row
// has the Length 0, which the caller has to set.
func ParseCSV(name string, r io.Reader) (Trace, error) {
	t := Trace{Name: name}
	in := csv.NewReader(r)
	in.Comment = '#'
	in.FieldsPerRecord = -1
	in.TrimLeadingSpace = true
	in.ReuseRecord = true
	for first := true; ; first = false {
		row, err := in.Read()
		if err == io.EOF {
			break
		}
		var syntax *csv.ParseError
		switch {
		case errors.As(err, &syntax):
			return Trace{}, fmt.Errorf("%s:%d:%d: %w: write numbers without quotes, separated by commas", name, syntax.Line, syntax.Column, syntax.Err)
		case err != nil:
			return Trace{}, fmt.Errorf("simulate: read %s: %w", name, err)
		}
		if first && strings.EqualFold(strings.TrimSpace(row[0]), columns[0].name) {
			if err := checkHeader(name, in, row); err != nil {
				return Trace{}, err
			}
			continue
		}
		p, err := parsePoint(name, in, row)
		if err != nil {
			return Trace{}, err
		}
		if n := len(t.Points); n > 0 && p.At <= t.Points[n-1].At {
			line, column := in.FieldPos(0)
			return Trace{}, fmt.Errorf("%s:%d:%d: seconds is %v, want more than %v of the row before: sort the rows by seconds, with one for each time",
				name, line, column, p.At.Seconds(), t.Points[n-1].At.Seconds())
		}
		t.Points = append(t.Points, p)
	}
	if len(t.Points) == 0 {
		return Trace{}, fmt.Errorf("%s:1:1: there are no rows, want lines such as 0,100: seconds,rate[,capacity_factor[,failing_share[,shared_limit]]]", name)
	}
	t.Length = t.Points[len(t.Points)-1].At.Truncate(time.Second)
	return t, nil
}

func checkHeader(name string, in *csv.Reader, row []string) error {
	for i, field := range row {
		if i < len(columns) && strings.EqualFold(strings.TrimSpace(field), columns[i].name) {
			continue
		}
		line, column := in.FieldPos(i)
		if i >= len(columns) {
			return fmt.Errorf("%s:%d:%d: there is a column %q, want %d at most: remove it", name, line, column, field, len(columns))
		}
		return fmt.Errorf("%s:%d:%d: column %d is called %q, want %s: put the columns in this order", name, line, column, i+1, field, columns[i].name)
	}
	return nil
}

func parsePoint(name string, in *csv.Reader, row []string) (Point, error) {
	fields := [len(columns)]float64{2: 1}
	for i, field := range row {
		line, column := in.FieldPos(i)
		if i >= len(columns) {
			return Point{}, fmt.Errorf("%s:%d:%d: there are %d columns, want %d at most: remove %q and what follows", name, line, column, len(row), len(columns), field)
		}
		field = strings.TrimSpace(field)
		if field == "" && i >= 2 {
			continue
		}
		v, err := strconv.ParseFloat(field, 64)
		if err != nil || math.IsInf(v, 0) {
			return Point{}, fmt.Errorf("%s:%d:%d: %s is %q, want a number: %s", name, line, column, columns[i].name, field, columns[i].want)
		}
		if err := columns[i].check(v); err != nil {
			return Point{}, fmt.Errorf("%s:%d:%d: %w", name, line, column, err)
		}
		fields[i] = v
	}
	if len(row) < 2 {
		line, column := in.FieldPos(len(row) - 1)
		return Point{}, fmt.Errorf("%s:%d:%d: there is one column, want at least seconds,rate, such as 0,100", name, line, column)
	}
	return Point{
		At:     time.Duration(math.Round(fields[0] * float64(time.Second))),
		Rate:   fields[1],
		Factor: fields[2], Failing: fields[3], Shared: fields[4],
	}, nil
}
