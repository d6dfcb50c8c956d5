package file

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/parquet-go/parquet-go"

	"github.com/flowkit-go/flow/primitives"
)

const (
	partBatch    = 1000
	rowsPerGroup = 200_000 // bounds what the writer of a part keeps in memory
)

// partOf turns a journal, JSON Lines of T, into a Parquet file.
func partOf[T any](journal io.Reader, out io.Writer) (err error) {
	defer recovered(&err, "write Parquet")
	codec := primitives.JSON[T]()
	buffered := bufio.NewWriterSize(out, chunkSize)
	w := parquet.NewGenericWriter[T](buffered, parquet.Compression(&parquet.Snappy), parquet.MaxRowsPerRowGroup(rowsPerGroup))
	batch := make([]T, 0, partBatch)
	flush := func() error {
		_, err := w.Write(batch)
		clear(batch)
		batch = batch[:0]
		return err
	}
	in := bufio.NewReaderSize(journal, chunkSize)
	for line := 1; ; line++ {
		data, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			break // openLog has seen to it that nothing whole is left
		}
		if err != nil {
			return err
		}
		v, err := codec.Decode(data)
		if err != nil {
			return fmt.Errorf("line %d: %w: if the type has changed since, move the journal away", line, err)
		}
		if batch = append(batch, v); len(batch) == partBatch {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if err := flush(); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return buffered.Flush()
}

// convert makes the n-th part of path from its journal, and removes the journal.
// Whatever happens, the rows are in one or the other: a journal whose part is
// there is one that could not be removed in time.
func convert(path string, n int, write func(io.Reader, io.Writer) error) error {
	journal, part := journalPath(path, n), partPath(path, n)
	_, err := os.Stat(part)
	if err == nil {
		return os.Remove(journal)
	}
	if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	in, err := os.Open(journal)
	if err != nil {
		return err
	}
	err = replaceFile(part, func(out io.Writer) error { return write(in, out) })
	if err = errors.Join(err, in.Close()); err != nil {
		return fmt.Errorf("make %s of %s: %w", part, journal, err)
	}
	return os.Remove(journal)
}
