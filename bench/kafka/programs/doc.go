// Package programs holds what the benchmark measures: the same work on Kafka as a
// Flow program, and written by hand with other clients and frameworks, each as
// somebody who knows it well would, with the same guarantee: an input's offset is
// committed after its output is acknowledged by all replicas, and never before that
// of an earlier record of its partition.
//
// Command kafka runs each in a process of its own. Nothing here is for import by
// anything else.
package programs
