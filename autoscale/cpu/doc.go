// Package cpu measures how many CPUs goroutines use that belong together, and counts
// the CPUs that there are.
//
// Go has no CPU clock per goroutine. But the CPU profiler notes for each of its samples
// the labels of the goroutine that was running, and goroutines inherit the labels of
// the one that starts them. So a short profile every few seconds tells what the
// goroutines of a label use, with all that they have started.
//
// Package runtime calls it, for processors whose size can change. It never holds the
// profiler for long, never keeps it from an HTTP profile that is asked for by way of
// Meter.Yield, and knows nothing of flows: a name is all that it is told.
package cpu
