// Package keda tells KEDA, and by it a Kubernetes HorizontalPodAutoscaler, how many
// processes a processor of a flow should have: it serves KEDA's external scaler
// interface from the same decision that sizes the replica pools inside a process.
//
// A Scaler looks every few seconds at what all processes of the flow share: at the
// broker, by a Group, for how far all of them together are, and at the /state of each
// process, by Peers, for the replicas and CPU that it took. From that it decides
// once per autoscale_frequency, as autoscale.Governor does.
//
// The program of a flow calls it, for its command scaler. It starts no processor,
// joins no consumer group, moves no progress and never talks to Kubernetes.
package keda
