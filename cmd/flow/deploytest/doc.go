// Package deploytest reads the manifests that flow deploy k8s prints with the types of
// Kubernetes and of KEDA themselves. Its tests are run for the golden files of the flow
// command; nothing imports it.
//
// It is a module of its own, so that neither Flow nor what is made with it depends on
// Kubernetes.
package deploytest
