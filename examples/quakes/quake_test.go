package main

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// archived returns the lines of the archive by the id of their feature.
func archived(t *testing.T) map[string][]byte {
	t.Helper()
	raw, err := data.ReadFile("data/earthquakes.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	lines := map[string][]byte{}
	for line := range bytes.Lines(raw) {
		var f struct{ ID string }
		if err := json.Unmarshal(line, &f); err != nil {
			t.Fatal(err)
		}
		lines[f.ID] = line
	}
	return lines
}

func TestClassify(t *testing.T) {
	magnitude := func(m float64) *float64 { return &m }
	lines := archived(t)
	lines["unknown"] = []byte(`{"id":"unknown","properties":{"mag":null,"time":1517932242400}}`) // the feed has such at times
	for _, want := range []Quake{
		{"us1000chhc", magnitude(6.4), "strong", "earthquake", "22km NNE of Hualian, Taiwan",
			time.Date(2018, 2, 6, 15, 50, 42, 400e6, time.UTC), 121.653, 24.1737, 10.64},
		{"us1000chs5", magnitude(5), "moderate", "earthquake", "98km ESE of Vanj, Tajikistan",
			time.Date(2018, 2, 6, 21, 54, 0, 730e6, time.UTC), 72.5446, 38.1608, 107.81},
		{"us1000chvf", magnitude(4.7), "light", "earthquake", "7km E of Hualian, Taiwan",
			time.Date(2018, 2, 6, 23, 43, 51, 840e6, time.UTC), 121.6773, 23.9887, 10},
		{"ak18384056", magnitude(3.8), "minor", "earthquake", "300km SE of Kodiak, Alaska",
			time.Date(2018, 2, 7, 0, 56, 19, 27e6, time.UTC), -149.145, 55.7729, 7.7},
		{"mb80279884", magnitude(2.19), "micro", "quarry blast", "6km E of Butte, Montana",
			time.Date(2018, 2, 2, 20, 3, 59, 620e6, time.UTC), -112.454, 46.0048333, -2},
		{"mb80280489", magnitude(-0.07), "micro", "earthquake", "15km N of Dillon, Montana",
			time.Date(2018, 2, 6, 15, 24, 50, 870e6, time.UTC), -112.6238333, 45.3583333, 5.99},
		{ID: "unknown", Class: "unknown", Time: time.Date(2018, 2, 6, 15, 50, 42, 400e6, time.UTC)},
	} {
		t.Run(want.ID, func(t *testing.T) {
			var f Feature
			if err := json.Unmarshal(lines[want.ID], &f); err != nil {
				t.Fatal(err)
			}
			got, err := classify(t.Context(), f)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestClassBounds(t *testing.T) {
	for m, want := range map[float64]string{
		-1: "micro", 2.99: "micro", 3: "minor", 3.99: "minor", 4: "light", 5: "moderate",
		6: "strong", 7: "major", 7.99: "major", 8: "great", 9.5: "great",
	} {
		if got := class(&m); got != want {
			t.Errorf("a magnitude of %v is %s, want %s", m, got, want)
		}
	}
}
