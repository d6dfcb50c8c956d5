// Package simulate plays a load against policies that resize a pool of replicas, in
// virtual time, and measures what each of them would have cost: how long the backlog
// was over the burn threshold, how many replica-seconds were paid for, how often the
// pool was resized. With it a user chooses options before production, and Flow's own
// decision is held against others: BuildFlow's formula, the rule of Kubernetes'
// HorizontalPodAutoscaler on CPU, and KEDA's on the length of a backlog.
//
// A Trace is the load. It is read from CSV by ParseCSV or made by Generate. Run plays
// it against one Policy; WriteTable, WriteMarkdown and WriteSVG show the results.
//
// The command flow simulate calls it. It never handles a record, measures a running
// flow, or reads a clock; the same input always gives the same result.
package simulate
