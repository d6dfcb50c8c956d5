package simulate

import (
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseCSV(t *testing.T) {
	got, err := ParseCSV("load.csv", strings.NewReader(`# a comment
Seconds, rate, capacity_factor, failing_share, shared_limit
0,100

60, 200.5, 0.5
90.5,300,,0.25
120,0,1,0,50
`))
	if err != nil {
		t.Fatal(err)
	}
	want := Trace{Name: "load.csv", Length: 120 * time.Second, Points: []Point{
		{Rate: 100, Factor: 1},
		{At: time.Minute, Rate: 200.5, Factor: 0.5},
		{At: 90500 * time.Millisecond, Rate: 300, Factor: 1, Failing: 0.25},
		{At: 2 * time.Minute, Factor: 1, Shared: 50},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestParseCSVSaysWhatIsWrongAndWhere(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		{"", "f.csv:1:1: there are no rows, want lines such as 0,100"},
		{"seconds,rate\n", "f.csv:1:1: there are no rows"},
		{"0,100\n10,many\n", `f.csv:2:4: rate is "many", want a number: records per second that arrive, from 0 to 1e12`},
		{"0,100\n10,-1\n", "f.csv:2:4: rate is -1, want records per second"},
		{"0,NaN\n", "f.csv:1:3: rate is NaN"},
		{"0,1e400\n", `f.csv:1:3: rate is "1e400"`},
		{"0,+Inf\n", `f.csv:1:3: rate is "+Inf", want a number`},
		{"0,\n", `f.csv:1:3: rate is "", want a number`},
		{"0\n", "f.csv:1:1: there is one column, want at least seconds,rate"},
		{"0,1,1,0,0,7\n", `f.csv:1:11: there are 6 columns, want 5 at most: remove "7"`},
		{"0,1\n10,1,1,1.5\n", "f.csv:2:8: failing_share is 1.5, want the share of attempts that fail, from 0 to 1"},
		{"0,1\n5,1\n5,2\n", "f.csv:3:1: seconds is 5, want more than 5 of the row before: sort the rows"},
		{"-1,1\n", "f.csv:1:1: seconds is -1"},
		{"9e9,1\n", "f.csv:1:1: seconds is 9e+09"},
		{"0,1\n1,\"2\n", "f.csv:2:6: extraneous or missing \" in quoted-field: write numbers without quotes"},
		{"seconds,load\n0,1\n", `f.csv:1:9: column 2 is called "load", want rate: put the columns in this order`},
		{"seconds,rate,capacity_factor,failing_share,shared_limit,x\n0,1\n", `f.csv:1:57: there is a column "x", want 5 at most`},
	} {
		t.Run(tc.text, func(t *testing.T) {
			if _, err := ParseCSV("f.csv", strings.NewReader(tc.text)); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %s", err, tc.want)
			}
		})
	}
}

// What is parsed can be played; what is not has an error that begins with a place.
func FuzzParseCSV(f *testing.F) {
	for _, seed := range []string{"0,1\n10,2,0.5,0.1,3\n", "seconds,rate\n0,1\n1,1\n", "#\n\n0,1", "0,\"1\"\n1,1\n", "1e-9,1\n1,2", "0,0x1p4\n3,1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		trace, err := ParseCSV("f.csv", strings.NewReader(text))
		if err != nil {
			if !strings.HasPrefix(err.Error(), "f.csv:") {
				t.Errorf("no place in %v", err)
			}
			return
		}
		trace.Length = min(max(trace.Length, time.Second), time.Minute)
		o := Defaults()
		r, err := Run(trace, o, newFlow(o))
		if err != nil {
			t.Fatal(err)
		}
		if math.IsNaN(r.ReplicaSeconds) || math.IsNaN(r.Left) || r.Left < 0 || r.Over > trace.Length {
			t.Errorf("%+v", r)
		}
	})
}

func TestGenerate(t *testing.T) {
	const peak = 1000
	for _, kind := range Kinds() {
		t.Run(kind, func(t *testing.T) {
			highest := 0.0
			for seed := range uint64(50) {
				trace, err := Generate(kind, Load{Peak: peak, Seed: seed})
				if err != nil {
					t.Fatal(err)
				}
				if err := trace.Validate(); err != nil {
					t.Fatal(err)
				}
				again, _ := Generate(kind, Load{Peak: peak, Seed: seed})
				if !reflect.DeepEqual(trace, again) {
					t.Error("not the same again")
				}
				other, _ := Generate(kind, Load{Peak: peak, Seed: seed + 1})
				if reflect.DeepEqual(trace, other) {
					t.Error("the same with another seed")
				}
				for _, p := range trace.Points {
					highest = math.Max(highest, p.Rate)
				}
			}
			want := float64(peak)
			if kind == "poison" || kind == "slow-downstream" {
				want /= 2
			}
			if highest < 0.9*want || highest > 1.4*want {
				t.Errorf("highest rate %v, want about %v", highest, want)
			}
		})
	}
}

// Each kind is what it says.
func TestGeneratedKindsDiffer(t *testing.T) {
	is := func(kind string, what func(Point) bool) int {
		trace, err := Generate(kind, Load{Peak: 1000, Seed: 1, Length: 2 * time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, p := range trace.Points {
			if what(p) {
				n++
			}
		}
		return n
	}
	for kind, what := range map[string]func(Point) bool{
		"poison":          func(p Point) bool { return p.Failing >= 0.4 },
		"slow-downstream": func(p Point) bool { return p.Factor <= 0.5 && p.Shared > 0 && p.Shared < p.Rate },
		"on-off":          func(p Point) bool { return p.Rate == 0 },
		"spikes":          func(p Point) bool { return p.Rate > 400 },
		"step":            func(p Point) bool { return p.Rate > 900 },
		"ramp":            func(p Point) bool { return p.Rate > 400 && p.Rate < 800 },
		"diurnal":         func(p Point) bool { return p.Rate < 300 },
	} {
		if n := is(kind, what); n < 40 || n > 600 {
			t.Errorf("%s: %d of 720 points are what it is for", kind, n)
		}
	}
}

func TestGenerateRefuses(t *testing.T) {
	for _, tc := range []struct {
		kind, want string
		load       Load
	}{
		{"sine", `trace "sine" is not known, want one of step, ramp, diurnal, spikes, poison, slow-downstream, on-off`, Load{}},
		{"step", "the peak is -1", Load{Peak: -1}},
		{"step", "the peak is NaN", Load{Peak: math.NaN()}},
		{"step", "its length is 1ms", Load{Peak: 1, Length: time.Millisecond}},
		{"step", "its length is 745h0m0s", Load{Peak: 1, Length: 745 * time.Hour}},
	} {
		if _, err := Generate(tc.kind, tc.load); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("error %v, want %s", err, tc.want)
		}
	}
}
