package file_test

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/file"
)

type sale struct {
	ID       int64   `json:"id" parquet:"id"`
	Customer string  `json:"customer" parquet:"customer"`
	Product  string  `json:"product" parquet:"product"`
	Cents    int64   `json:"cents" parquet:"cents"`
	Rate     float64 `json:"rate" parquet:"rate"`
	Note     string  `json:"note" parquet:"note"`
}

func sales(n int) []sale {
	out := make([]sale, n)
	for i := range out {
		out[i] = sale{int64(i), "customer-0000000042", "a product with a longer name", int64(i) * 7, 0.25, "left at the door, \"as agreed\""}
	}
	return out
}

const saleCount = 20_000

// oneLane takes everything and keeps nothing.
type oneLane struct {
	primitives.Intake
	take func([]primitives.Record) error
}

func (l *oneLane) Assign(primitives.Partition, int64) primitives.Lane { return l }

func (l *oneLane) Push(_ context.Context, burst []primitives.Record) (int, error) {
	return len(burst), l.take(burst)
}

func (l *oneLane) Advance(int64)                         {}
func (l *oneLane) Epoch() int64                          { return 1 }
func (l *oneLane) Free() int                             { return 1 << 20 }
func (l *oneLane) WaitFree(context.Context) (int, error) { return 1 << 20, nil }

func readOnce(b *testing.B, f file.File[sale], decode bool) {
	b.Helper()
	dec, err := f.Decoder()
	if err != nil {
		b.Fatal(err)
	}
	r, err := f.OpenSource(b.Context(), newEnv(""))
	if err != nil {
		b.Fatal(err)
	}
	n := 0
	in := &oneLane{take: func(burst []primitives.Record) error {
		n += len(burst)
		if !decode {
			return nil
		}
		for i := range burst {
			if _, err := dec(burst[i : i+1]); err != nil {
				return err
			}
		}
		return nil
	}}
	if err := r.Run(b.Context(), in); err != nil {
		b.Fatal(err)
	}
	if err := r.Close(b.Context()); err != nil {
		b.Fatal(err)
	}
	if n != saleCount {
		b.Fatalf("%d records", n)
	}
}

func BenchmarkRead(b *testing.B) {
	dir := b.TempDir()
	for _, format := range []string{"jsonl", "csv", "parquet"} {
		f := file.File[sale]{Path: filepath.Join(dir, "x."+format)}
		store(b, f, sales(saleCount)...)
		size := fileSize(b, f.Path)
		for _, decode := range []bool{true, false} {
			name := format + "/split"
			if decode {
				name = format + "/decode"
			}
			b.Run(name, func(b *testing.B) {
				b.SetBytes(size)
				b.ReportAllocs()
				for b.Loop() {
					readOnce(b, f, decode)
				}
				b.ReportMetric(float64(b.N*saleCount)/b.Elapsed().Seconds(), "rec/s")
			})
		}
	}
	path := filepath.Join(dir, "x.jsonl")
	for _, decode := range []bool{true, false} {
		name := "byhand/split"
		if decode {
			name = "byhand/decode"
		}
		b.Run(name, func(b *testing.B) {
			b.SetBytes(fileSize(b, path))
			b.ReportAllocs()
			for b.Loop() {
				in, err := os.Open(path)
				if err != nil {
					b.Fatal(err)
				}
				n := 0
				for lines := bufio.NewScanner(in); lines.Scan(); n++ {
					var v sale
					if decode {
						if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
							b.Fatal(err)
						}
					}
				}
				in.Close()
				if n != saleCount {
					b.Fatalf("%d lines", n)
				}
			}
			b.ReportMetric(float64(b.N*saleCount)/b.Elapsed().Seconds(), "rec/s")
		})
	}
}

func fileSize(b *testing.B, path string) int64 {
	b.Helper()
	info, err := os.Stat(path)
	if err != nil {
		return 0 // parts of Parquet
	}
	return info.Size()
}

func BenchmarkWrite(b *testing.B) {
	values := sales(saleCount)
	const batch = 500
	for _, format := range []string{"jsonl", "csv", "parquet"} {
		b.Run(format, func(b *testing.B) {
			f := file.File[sale]{Path: filepath.Join(b.TempDir(), "x."+format)}
			encode, err := f.Encoder()
			if err != nil {
				b.Fatal(err)
			}
			w, err := f.OpenSink(b.Context(), newEnv(""))
			if err != nil {
				b.Fatal(err)
			}
			var bytes int64
			var out primitives.Outputs
			result := make(chan error, 1)
			done := func(err error) { result <- err }
			b.ReportAllocs()
			for b.Loop() {
				bytes = 0
				for i := 0; i < len(values); i += batch {
					out.Reset()
					for _, v := range values[i : i+batch] {
						if err := encode(v, &out); err != nil {
							b.Fatal(err)
						}
					}
					bytes += int64(out.Size() + batch)
					w.Write(b.Context(), out.Records, done)
					if err := <-result; err != nil {
						b.Fatal(err)
					}
				}
			}
			b.SetBytes(bytes)
			b.ReportMetric(float64(b.N*saleCount)/b.Elapsed().Seconds(), "rec/s")
			if err := w.Close(b.Context()); err != nil {
				b.Fatal(err)
			}
		})
	}
	b.Run("byhand", func(b *testing.B) {
		out, err := os.Create(filepath.Join(b.TempDir(), "x.jsonl"))
		if err != nil {
			b.Fatal(err)
		}
		defer out.Close()
		b.ReportAllocs()
		var bytes int64
		for b.Loop() {
			bytes = 0
			for i := 0; i < len(values); i += batch {
				buf := bufio.NewWriterSize(out, 1<<20)
				for _, v := range values[i : i+batch] {
					line, err := json.Marshal(v)
					if err != nil {
						b.Fatal(err)
					}
					bytes += int64(len(line) + 1)
					buf.Write(line)
					buf.WriteByte('\n')
				}
				if err := buf.Flush(); err != nil {
					b.Fatal(err)
				}
			}
		}
		b.SetBytes(bytes)
		b.ReportMetric(float64(b.N*saleCount)/b.Elapsed().Seconds(), "rec/s")
	})
}
