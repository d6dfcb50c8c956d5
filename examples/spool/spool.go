package spool

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/flowkit-go/flow/primitives"
)

// A Folder is a queue in a folder: a source and a sink of T.
type Folder[T any] struct {
	// Path of the folder. A relative one lies in the flow's data folder. Missing
	// folders are made. Needed.
	Path string

	// Codec encodes the values. Default: what primitives.CodecFor chooses for T.
	Codec primitives.Codec[T]
}

var (
	_ primitives.Source[any] = Folder[any]{}
	_ primitives.Sink[any]   = Folder[any]{}
	_ primitives.Validator   = Folder[any]{}
)

// String names the folder as "spool:orders".
func (f Folder[T]) String() string { return "spool:" + f.Path }

// Validate reports a folder without a path.
func (f Folder[T]) Validate() error {
	if f.Path == "" {
		return errors.New("spool: Path is empty: set it to a folder")
	}
	return nil
}

// Decoder returns the decoder of T.
func (f Folder[T]) Decoder() (primitives.Decoder[T], error) { return primitives.DecoderOf(f.Codec) }

// Encoder returns the encoder of T. Records have no keys.
func (f Folder[T]) Encoder() (primitives.Encoder[T], error) {
	return primitives.EncoderOf(f.Codec, nil)
}

// OpenSource makes the folder and returns its reader.
func (f Folder[T]) OpenSource(_ context.Context, env *primitives.Env) (primitives.Reader, error) {
	dir, err := f.open(env)
	if err != nil {
		return nil, err
	}
	return &reader{dir: dir, seen: map[string]bool{}, partition: primitives.Partition{Topic: f.Path}}, nil
}

// OpenSink makes the folder and returns a writer.
func (f Folder[T]) OpenSink(_ context.Context, env *primitives.Env) (primitives.Writer, error) {
	dir, err := f.open(env)
	if err != nil {
		return nil, err
	}
	return newWriter(dir), nil
}

func (f Folder[T]) open(env *primitives.Env) (dir string, err error) {
	dir = f.Path
	if !filepath.IsAbs(dir) {
		dir = filepath.Join(env.DataDir, dir)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("spool: make folder %s: %w: set Path to one that can be written", dir, err)
	}
	return dir, nil
}
