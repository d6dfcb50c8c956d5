// Package wire has the messages that KEDA and a scaler exchange, as protoc-gen-go
// makes them from wire.proto. Package keda alone uses it.
package wire

//go:generate ../../../../scripts/generate-keda
