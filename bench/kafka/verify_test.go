package main

import (
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-json"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/flowkit-go/flow/bench/kafka/programs"
)

// outputsOf are what a right program makes of records 0 to n-1.
func outputsOf(t *testing.T, n, customers int) []*kgo.Record {
	t.Helper()
	var out []*kgo.Record
	for seq := range int64(n) {
		o := programs.Handle(programs.NewOrder(seq, customers))
		value, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, &kgo.Record{Key: []byte(programs.Key(o)), Value: value, Timestamp: time.UnixMilli(seq)})
	}
	return out
}

func judge(n int, out []*kgo.Record) (outputs, error) {
	c := newChecker(n)
	for _, r := range out {
		if err := c.take(r); err != nil {
			return c.outputs, err
		}
	}
	return c.outputs, c.missing()
}

func TestCheckerAccepts(t *testing.T) {
	out := outputsOf(t, 50, 7)
	out = append(out, out[49])
	got, err := judge(50, out)
	if err != nil || got.repeated != 1 || got.last.Sub(got.first) != 49*time.Millisecond {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestCheckerRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(out []*kgo.Record) []*kgo.Record
		want  string
	}{
		"missing":      {func(out []*kgo.Record) []*kgo.Record { return out[:49] }, "1 of 50 records have no output, as 49"},
		"out of order": {func(out []*kgo.Record) []*kgo.Record { out[1], out[8] = out[8], out[1]; return out }, "output 1 comes after 8"},
		"never sent":   {func(out []*kgo.Record) []*kgo.Record { out[3].Value = []byte(`{"seq":50}`); return out }, "output 50 was never sent"},
		"not JSON":     {func(out []*kgo.Record) []*kgo.Record { out[3].Value = []byte(`{"s":`); return out }, `output "{\"s\":"`},
		"not handled":  {func(out []*kgo.Record) []*kgo.Record { out[0].Value = []byte(`{"seq":0,"customer":"c-0"}`); return out }, "want status billed"},
		"another key":  {func(out []*kgo.Record) []*kgo.Record { out[0].Key = []byte("c-1"); return out }, `has the key "c-1"`},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := judge(50, c.spoil(outputsOf(t, 50, 7))); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %s", err, c.want)
			}
		})
	}
}

func TestOrdersHaveTheSizeAndTheKeys(t *testing.T) {
	keys := map[string]bool{}
	for seq := range int64(10_000) {
		o := programs.NewOrder(seq, 100)
		keys[programs.Key(o)] = true
		if b, err := json.Marshal(o); err != nil || len(b) < 150 || len(b) > 200 {
			t.Fatalf("%s: %d bytes, %v", b, len(b), err)
		}
	}
	if len(keys) != 100 {
		t.Errorf("%d keys, want 100", len(keys))
	}
}
