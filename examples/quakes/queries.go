package main

import (
	"context"
	"net/http"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/primitives/sqlite"
)

// queries answers from the table, also while it is written.
type queries struct{ table *sqlite.Reader[Quake] }

// A search is what may follow the ? of GET /quakes.
type search struct {
	MinMagnitude *float64 `query:"min_magnitude"`
	Limit        uint8    `query:"limit" default:"20"` // its type bounds it: 0 to 255
}

func (q queries) strongest(ctx context.Context, s search) ([]Quake, error) {
	return q.table.Select(ctx, "where ?1 is null or magnitude >= ?1 order by magnitude desc, time desc limit ?2",
		s.MinMagnitude, s.Limit)
}

type byID struct {
	ID string `path:"id"`
}

func (q queries) one(ctx context.Context, in byID) (Quake, error) {
	quake, found, err := q.table.Get(ctx, in.ID)
	if err == nil && !found {
		err = flow.HTTPError(http.StatusNotFound, "no quake has the id "+in.ID)
	}
	return quake, err
}

// A day is a day in UTC and what happened in it.
type day struct {
	Day       string   `json:"day"`
	Quakes    int      `json:"quakes"`
	Strongest *float64 `json:"strongest"` // magnitude
}

func (q queries) days(ctx context.Context, _ struct{}) ([]day, error) {
	return sqlite.Query[day](ctx, q.table, `
		select date(time) as day, count(*) as quakes, max(magnitude) as strongest
		from quakes group by 1 order by 1`)
}
