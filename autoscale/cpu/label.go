package cpu

import (
	"context"
	"runtime/pprof"
)

// Label is the pprof label by which samples are told apart. Its value is the name of
// the processor. It is in every CPU profile of a flow, also in those that are taken by
// hand: go tool pprof -tagfocus flow_processor=NAME.
const Label = "flow_processor"

// With returns ctx with the label. Functions such as pprof.Do that are called with
// what is derived from it keep the label, and give it back to the goroutine.
func With(ctx context.Context, name string) context.Context {
	return pprof.WithLabels(ctx, pprof.Labels(Label, name))
}

// Mark gives the calling goroutine the labels of ctx, in place of those that it has.
// Goroutines that it starts from now on inherit them. A ctx without labels takes
// them away.
func Mark(ctx context.Context) { pprof.SetGoroutineLabels(ctx) }
