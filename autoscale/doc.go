// Package autoscale decides how many replicas a processor has, and sees to it.
//
// Decide and DecideOngoing are pure: one look at the Signals of a consumer, or of a
// collector or endpoint, within Limits. A Governor makes decisions that follow one
// another: it learns what a replica can do and what arrives, and calms what Decide
// wants, and tells from Glances at the backlog when a decision cannot wait. A Loop
// measures and resizes, one schedule per processor, within a Budget of CPUs.
//
// It is called by package runtime, which it knows as Target and Pool alone. It never
// looks at how records are handled, and has no clock of its own in a decision.
package autoscale
