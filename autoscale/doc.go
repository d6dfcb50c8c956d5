// Package autoscale holds the limits within which a processor's pool of replicas
// may be resized. It knows nothing of how records are handled: it meets package
// runtime in the Pool interface alone.
package autoscale
