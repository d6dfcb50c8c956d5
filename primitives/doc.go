// Package primitives holds the contracts between Flow's runtime and the systems
// that records come from and go to, and nothing else.
//
// A primitive is a value that names something in such a system: a topic, a
// queue, a table, a file. It does no I/O until a flow runs. A primitive that
// can be read is a [Source], one that can be written is a [Sink]; many are both.
// What a system can do beyond that it says by implementing one of the small
// optional interfaces: [Backlogger], [Leaser], [Pauser], [Partitioned],
// [Bounded], [Transactor], [Validator]; and, for people who look into it,
// [Browser], [Remover], [Replayer], [Lending], [Returner], [Needer].
//
// Who calls whom: the root package flow asks a primitive for its Decoder or
// Encoder when a processor is registered; package runtime calls OpenSource and
// OpenSink when the flow starts, and drives the Reader and Writer that it gets.
// The folders below this one implement primitives and import only this package.
// It never imports them, nor the runtime, nor a vendor's SDK.
//
// A record's way:
//
//	Reader.Run -> Lane.Push -> (runtime: decode, handle, encode) -> Writer.Write -> done -> Reader.Commit
package primitives
