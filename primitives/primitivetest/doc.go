// Package primitivetest is the conformance suite that every primitive passes:
// the promises of package primitives, each as a test, against the real thing.
//
// A primitive's own test calls [Run] when it is a source and a sink, [RunSource]
// or [RunSink] when it is one of them, with functions that make fresh ends and
// with the [Features] that it has. The suite drives the contracts directly, with
// an [Intake] of its own in the place of the runtime, which a primitive's other
// tests may use too. It never imports package runtime.
package primitivetest
