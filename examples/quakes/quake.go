package main

import (
	"context"
	"net/http"
	"time"

	"github.com/flowkit-go/flow"
)

// A Feature is an event as USGS publishes it, in GeoJSON. What is not used here
// is left out.
type Feature struct {
	ID         string `json:"id"`
	Properties struct {
		Magnitude *float64 `json:"mag"` // null where it is not known
		Place     string   `json:"place"`
		Time      int64    `json:"time"` // milliseconds since 1970
		Type      string   `json:"type"` // earthquake, explosion, quarry blast
	} `json:"properties"`
	Geometry struct {
		Coordinates [3]float64 `json:"coordinates"` // longitude, latitude, depth in km
	} `json:"geometry"`
}

// A Quake is a row of the table and an answer of the endpoints.
type Quake struct {
	ID        string    `json:"id"`
	Magnitude *float64  `json:"magnitude"`
	Class     string    `json:"class"`
	Type      string    `json:"type"`
	Place     string    `json:"place"`
	Time      time.Time `json:"time"`
	Longitude float64   `json:"longitude"`
	Latitude  float64   `json:"latitude"`
	DepthKM   float64   `json:"depth_km"`
}

// accept passes features on, and refuses those that have no place in the table.
func accept(_ context.Context, f Feature) (Feature, error) {
	switch {
	case f.ID == "":
		return f, flow.HTTPError(http.StatusUnprocessableEntity, "id is missing")
	case f.Properties.Time == 0:
		return f, flow.HTTPError(http.StatusUnprocessableEntity, "properties.time is missing")
	}
	return f, nil
}

// classify makes the row of a feature.
func classify(_ context.Context, f Feature) (Quake, error) {
	p, at := f.Properties, f.Geometry.Coordinates
	return Quake{
		ID: f.ID, Magnitude: p.Magnitude, Class: class(p.Magnitude), Type: p.Type, Place: p.Place,
		Time: time.UnixMilli(p.Time).UTC(), Longitude: at[0], Latitude: at[1], DepthKM: at[2],
	}, nil
}

// class is the usual word for a magnitude.
func class(magnitude *float64) string {
	if magnitude == nil {
		return "unknown"
	}
	switch m := *magnitude; {
	case m >= 8:
		return "great"
	case m >= 7:
		return "major"
	case m >= 6:
		return "strong"
	case m >= 5:
		return "moderate"
	case m >= 4:
		return "light"
	case m >= 3:
		return "minor"
	}
	return "micro"
}
