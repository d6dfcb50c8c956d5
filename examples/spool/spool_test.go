package spool_test

import (
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/flowkit-go/flow/examples/spool"
	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/primitivetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	primitivetest.Run(t, primitivetest.Config{
		Features: primitivetest.Features{
			Ordered: true, Binary: true, Redelivery: true, Commits: true, Backlog: true, Durable: true,
		},
		New: func(t testing.TB) primitivetest.Ends {
			folder := spool.Folder[primitives.Record]{Path: t.TempDir()}
			return primitivetest.Ends{Source: folder, Sink: folder, Restart: func(testing.TB) {}}
		},
		Unreachable: func(t testing.TB) primitivetest.Ends {
			file := filepath.Join(t.TempDir(), "file")
			if err := os.WriteFile(file, nil, 0o644); err != nil {
				t.Fatal(err)
			}
			folder := spool.Folder[primitives.Record]{Path: filepath.Join(file, "spool")}
			return primitivetest.Ends{Source: folder, Sink: folder}
		},
		Records: 200,
	})
}

func TestPathIsNeeded(t *testing.T) {
	if err := (spool.Folder[string]{}).Validate(); err == nil {
		t.Error("a folder without a path is accepted")
	}
}
