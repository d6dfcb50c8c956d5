// Package spool is an example of a primitive: a folder as a durable queue, with
// one file per record.
//
//	orders = spool.Folder[Order]{Path: "spool/orders"}
//
// It is called by whoever declares a flow, and by package runtime through the
// contracts of package primitives. docs/writing-a-primitive.md goes through it
// line by line. It is small so that it can be read, and no more than that: one
// process reads a folder at a time, keys and headers are not kept, and a file per
// record is slow. It never deletes a file that was not committed.
package spool
