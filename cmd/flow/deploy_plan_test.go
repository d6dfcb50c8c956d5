package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flowkit-go/flow"
)

func TestDNSLabel(t *testing.T) {
	long := strings.Repeat("abcdefghi-", 9)
	for _, tt := range []struct {
		parts []string
		want  string
	}{
		{[]string{"shop"}, "shop"},
		{[]string{"shop", "POST /orders/{id}"}, "shop-post-orders-id"},
		{[]string{"Über"}, "ber"},
		{[]string{"--a__b--"}, "a-b"},
		{[]string{"9to5"}, "flow-9to5"},
		{[]string{"", "/"}, "flow"},
		{[]string{"true"}, "flow-true"},
		{[]string{"on", "call"}, "on-call"},
		{[]string{long}, "abcdefghi-abcdefghi-abcdefghi-abcdefghi-abcdefghi-abcd-" + shortHash(long)},
	} {
		if got := dnsLabel(longestLabel, tt.parts...); got != tt.want || len(got) > longestLabel {
			t.Errorf("%q: %q (%d), want %q", tt.parts, got, len(got), tt.want)
		}
	}
}

// No two processors share a name, and none has that of another object of the flow.
func TestTakenNames(t *testing.T) {
	n := newTakenNames("shop")
	var got []string
	for _, p := range []string{"bill", "Bill", "scaler", "peers", "data", "http", "http"} {
		got = append(got, n.of(p))
	}
	want := []string{"shop-bill", "shop-bill-" + shortHash("Bill"), "shop-scaler-" + shortHash("scaler"),
		"shop-peers-" + shortHash("peers"), "shop-data-" + shortHash("data"), "shop-http", "shop-http-" + shortHash("http")}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestQuantities(t *testing.T) {
	for cpus, want := range map[float64]string{1: "1", 0.5: "500m", 1.25: "1250m", 0.0001: "1m", 0.1 * 3: "300m", 24: "24"} {
		if got := cpuQuantity(cpus); got != want {
			t.Errorf("%v CPUs: %s, want %s", cpus, got, want)
		}
	}
	if got := mebi(1<<20 + 1); got != "2Mi" {
		t.Errorf("a byte more than 1 MiB: %s", got)
	}
	for addr, want := range map[string]int{"127.0.0.1:9000": 9000, ":80": 80, "[::1]:81": 81, ":0": 8080, "x": 8080, ":http": 8080} {
		if got := portOf(addr, flow.DefaultHTTPAddr); got != want {
			t.Errorf("port of %s: %d, want %d", addr, got, want)
		}
	}
}

// node is a processor with options as name=value.
func node(kind flow.Kind, name, source, sink string, options ...string) flow.GraphNode {
	n := flow.GraphNode{Kind: kind, Name: name, Source: source, Sink: sink}
	if kind != flow.KindConsumer {
		n.Pattern = name
	}
	for _, o := range append([]string{"num_cpus=1", "min_replicas=1", "max_replicas=1"}, options...) {
		k, v, _ := strings.Cut(o, "=")
		for i := range n.Settings {
			if n.Settings[i].Option == k {
				n.Settings[i].Value = v
			}
		}
		n.Settings = append(n.Settings, flow.Setting{Option: k, Value: v, From: "default"})
	}
	return n
}

// outline is what a plan comes to, in a line per workload.
func outline(p *plan) (lines []string) {
	for _, w := range p.Workloads {
		line := fmt.Sprintf("%s cpu=%s memory=%s grace=%d", w.Name, w.CPU, w.Memory, w.Grace())
		for _, on := range []struct {
			is   bool
			name string
		}{{w.HTTP, "http"}, {w.Ends, "job"}, {w.Only != "", "only=" + w.Only}, {p.Volume != "", "volume=" + p.Volume}} {
			if on.is {
				line += " " + on.name
			}
		}
		for _, n := range w.Triggers {
			line += fmt.Sprintf(" scales:%s<=%d", n.Name, w.MaxPods)
		}
		lines = append(lines, line)
	}
	return lines
}

func TestPlan(t *testing.T) {
	ends := node(flow.KindConsumer, "load", "file:a.jsonl", "kafka:a")
	ends.Ends = true
	bill := node(flow.KindConsumer, "bill", "kafka:orders", "kafka:lines", "num_cpus=0.5", "min_replicas=3", "max_replicas=16", "buffer_bytes=100000000")
	fixed := node(flow.KindConsumer, "audit", "kafka:orders", "", "enable_autoscaler=false")
	post := node(flow.KindCollector, "POST /orders", "", "kafka:orders", "num_cpus=0.25")
	page := flow.GraphNode{Kind: "handler", Name: "/page", Pattern: "/page"}
	for _, tt := range []struct {
		name        string
		nodes       []flow.GraphNode
		http, admin string
		flags       planFlags
		env         environment
		want        []string
	}{
		{name: "all in one", nodes: []flow.GraphNode{post, bill, fixed, page},
			want: []string{"shop cpu=2750m memory=448Mi grace=35 http scales:bill<=10"}},
		{name: "apart", nodes: []flow.GraphNode{bill, post, fixed, page}, flags: planFlags{perProcessor: true},
			want: []string{"shop-http cpu=250m memory=256Mi grace=35 http only=POST /orders,/page",
				"shop-bill cpu=1500m memory=448Mi grace=30 only=bill scales:bill<=10",
				"shop-audit cpu=1 memory=256Mi grace=30 only=audit"}},
		{name: "without KEDA", nodes: []flow.GraphNode{bill}, flags: planFlags{noKEDA: true},
			want: []string{"shop cpu=1500m memory=448Mi grace=30"}},
		{name: "without an admin address nobody can be asked", nodes: []flow.GraphNode{bill}, admin: "off",
			want: []string{"shop cpu=1500m memory=448Mi grace=30"}},
		{name: "without an HTTP address", nodes: []flow.GraphNode{post}, http: "off",
			want: []string{"shop cpu=250m memory=256Mi grace=30"}},
		{name: "handlers alone", nodes: []flow.GraphNode{page}, want: []string{"shop cpu=100m memory=256Mi grace=35 http"}},
		{name: "input that ends", nodes: []flow.GraphNode{ends}, want: []string{"shop cpu=1 memory=256Mi grace=30 job volume=1Gi"}},
		{name: "input that ends, and requests", nodes: []flow.GraphNode{ends, post}, flags: planFlags{data: "5Gi"},
			want: []string{"shop cpu=1250m memory=256Mi grace=35 http volume=5Gi"}},
		{name: "state in the data folder", nodes: []flow.GraphNode{node(flow.KindConsumer, "keep", "kafka:a", "tee(sqlite:rows, kafka:b)")},
			want: []string{"shop cpu=1 memory=256Mi grace=30 volume=1Gi"}},
		{name: "state that may be lost", nodes: []flow.GraphNode{node(flow.KindConsumer, "keep", "nats:a", "")}, flags: planFlags{data: "none"},
			want: []string{"shop cpu=1 memory=256Mi grace=30"}},
		{name: "a server of NATS", nodes: []flow.GraphNode{node(flow.KindConsumer, "keep", "nats:a", "nats:b")}, env: environment{"NATS_URL=nats://a"},
			want: []string{"shop cpu=1 memory=256Mi grace=30 scales:keep<=10"}},
		{name: "memory needs no volume", nodes: []flow.GraphNode{node(flow.KindConsumer, "keep", "memory:a", "")},
			want: []string{"shop cpu=1 memory=256Mi grace=30"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := described{env: tt.env, graph: flow.Graph{Flow: "shop", HTTP: flow.DefaultHTTPAddr, Admin: flow.DefaultAdminAddr, DrainTimeout: "25s", Processors: tt.nodes}}
			if tt.http != "" {
				d.graph.HTTP = tt.http
			}
			if tt.admin != "" {
				d.graph.Admin = tt.admin
			}
			tt.flags.name, tt.flags.namespace, tt.flags.maxPods = "shop", "default", defaultMaxPods
			p, err := newPlan(d, tt.flags)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, outline(p)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestPlanMistakes(t *testing.T) {
	for _, tt := range []struct {
		nodes []flow.GraphNode
		want  string
	}{
		{[]flow.GraphNode{node(flow.KindConsumer, "a", "memory:x", "")}, "the flow keeps memory:x inside of one process or its data folder, which pods do not share: leave out --per-processor"},
		{[]flow.GraphNode{node(flow.KindConsumer, "a", "kafka:x", "sqlite:y"), node(flow.KindConsumer, "b", "nats:z", "sqlite:y")}, "keeps sqlite:y, nats:z inside"},
		{[]flow.GraphNode{node(flow.KindConsumer, "a,b", "kafka:x", "")}, `processor "a,b" has a comma in its name`},
	} {
		d := described{graph: flow.Graph{Flow: "shop", HTTP: "off", Admin: "off", Processors: tt.nodes}}
		_, err := newPlan(d, planFlags{name: "shop", perProcessor: true})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v, want %q", err, tt.want)
		}
	}
}

// The build of an image sees the folder of the module, and nothing outside of it.
func TestImageSource(t *testing.T) {
	dir := t.TempDir()
	mod := &listedModule{Path: "example.com/shop", Dir: dir, Main: true, GoVersion: "1.26.3"}
	root := listed{ImportPath: "example.com/shop/cmd/shop", Dir: filepath.Join(dir, "cmd", "shop"), Module: mod}
	replaced := func(dir string) listed {
		return listed{ImportPath: modulePath, Module: &listedModule{Path: modulePath, Dir: dir, Replace: &listedModule{Path: dir, Dir: dir}}}
	}
	proxied := listed{ImportPath: modulePath, Module: &listedModule{Path: modulePath, Version: "v1.0.0", Dir: "/cache"}}
	ask := func(deps ...listed) (image, error) {
		return newImage(described{root: root, deps: append(deps, root), graph: flow.Graph{HTTP: "off", Admin: "off"}})
	}

	i, err := ask(proxied)
	if want := (image{Program: "shop", Package: "./cmd/shop", GoVersion: "1.26", Download: true}); err != nil || !cmp.Equal(want, i) {
		t.Errorf("released modules: %v\n%s", err, cmp.Diff(want, i))
	}
	if i, err := ask(replaced(filepath.Join(dir, "flow"))); err != nil || i.Download {
		t.Errorf("a module below: %v, it is downloaded: %v", err, i.Download)
	}
	if _, err := ask(replaced(filepath.Dir(dir))); err == nil || !strings.Contains(err.Error(), "run go mod vendor there first") {
		t.Errorf("a module outside: %v", err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "vendor"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"vendor/modules.txt", "go.sum"} {
		if err := os.WriteFile(filepath.Join(dir, file), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if i, err := ask(replaced(filepath.Dir(dir))); err != nil || i.Download || !i.Sums {
		t.Errorf("a module outside that is vendored: %v, %+v", err, i)
	}
	mod.Main = false
	if _, err := ask(proxied); err == nil || !strings.Contains(err.Error(), "in the folder of its module") {
		t.Errorf("a package of another module: %v", err)
	}
}
