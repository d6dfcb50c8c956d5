package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"net"
	"strconv"
	"strings"

	"github.com/flowkit-go/flow"
)

// Kubernetes bounds a label's value, and the name of a Service, at 63 characters.
// What a flow's name is a part of has up to longestEnd more.
const (
	longestLabel = 63
	longestEnd   = 23
	longestName  = longestLabel - longestEnd
)

// dnsLabel makes a name of the objects' rules: lower-case letters, digits and -, a
// letter first, limit characters at most. One that has to be cut ends with a hash of
// the whole.
func dnsLabel(limit int, parts ...string) string {
	whole := strings.Join(parts, "-")
	var b strings.Builder
	for _, r := range strings.ToLower(whole) {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			b.WriteRune(r)
		} else if s := b.String(); s != "" && s[len(s)-1] != '-' {
			b.WriteByte('-')
		}
	}
	label := strings.TrimRight(b.String(), "-")
	if label == "" || label[0] < 'a' || notText[label] {
		label = strings.TrimRight("flow-"+label, "-")
	}
	if len(label) > limit {
		end := shortHash(whole)
		label = strings.TrimRight(label[:limit-len(end)-1], "-") + "-" + end
	}
	return label
}

// notText are words that YAML takes for something else than text.
var notText = map[string]bool{
	"true": true, "false": true, "yes": true, "no": true, "on": true, "off": true, "y": true, "n": true, "null": true,
}

func shortHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:4])
}

// takenNames gives each processor's Deployment its own name.
type takenNames struct {
	flow  string
	taken map[string]bool
}

func newTakenNames(flow string) *takenNames {
	n := &takenNames{flow: flow, taken: map[string]bool{}}
	for _, own := range []string{"scaler", "peers", "data"} {
		n.taken[flow+"-"+own] = true
	}
	return n
}

func (n *takenNames) of(processor string) string {
	name := dnsLabel(longestLabel, n.flow, processor)
	if n.taken[name] {
		name = dnsLabel(longestLabel, n.flow, processor, shortHash(processor))
	}
	n.taken[name] = true
	return name
}

// cpuQuantity writes CPUs as Kubernetes does, in thousandths unless they are whole.
func cpuQuantity(cpus float64) string {
	milli := int64(math.Ceil(cpus*1000 - 1e-6))
	if milli%1000 == 0 {
		return strconv.FormatInt(milli/1000, 10)
	}
	return fmt.Sprintf("%dm", milli)
}

// mebi writes bytes in MiB, rounded up.
func mebi(bytes int64) string { return fmt.Sprintf("%dMi", (bytes+1<<20-1)>>20) }

// portOf is the port of an address, or the default where it is 0 or cannot be read.
func portOf(addr, otherwise string) int {
	for _, a := range []string{addr, otherwise} {
		if _, port, err := net.SplitHostPort(a); err == nil {
			if n, err := strconv.Atoi(port); err == nil && n > 0 {
				return n
			}
		}
	}
	return 0
}

// setting is the effective value of a processor's option, "" where it has none.
func setting(n flow.GraphNode, option string) string {
	for _, s := range n.Settings {
		if s.Option == option {
			return s.Value
		}
	}
	return ""
}

func numberSetting(n flow.GraphNode, option string) float64 {
	v, err := strconv.ParseFloat(setting(n, option), 64)
	if err != nil {
		return 0
	}
	return v
}

// replicasOf tells how many replicas one process runs.
func replicasOf(n flow.GraphNode) string {
	least, most := setting(n, "min_replicas"), setting(n, "max_replicas")
	switch {
	case most == "1":
		return "1 replica"
	case least == most:
		return most + " replicas"
	}
	return least + " to " + most + " replicas"
}
