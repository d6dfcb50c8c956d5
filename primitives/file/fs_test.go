package file_test

import (
	"bytes"
	"compress/gzip"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/flowkit-go/flow/primitives/file"
)

func zipped(t *testing.T, content string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestSourceInFS(t *testing.T) {
	t.Chdir(t.TempDir()) // nothing is found there
	fsys := fstest.MapFS{
		"data/a.jsonl":    {Data: []byte("{\"id\":1}\n{\"id\":2}\n")},
		"data/b.jsonl.gz": {Data: zipped(t, "{\"id\":3}\n")},
		"data/c.csv":      {Data: []byte("id,name,price\n4,d,1\n")},
	}
	for path, want := range map[string][]string{
		"data/a.jsonl":  {"a.jsonl:1", "a.jsonl:2"},
		"data/*.jsonl*": {"a.jsonl:1", "a.jsonl:2", "b.jsonl.gz:1"},
		"data/c.csv":    {"c.csv:2"},
	} {
		format := file.JSONLines
		if path == "data/c.csv" {
			format = file.CSV
		}
		out, err := load(t, file.File[item]{FS: fsys, Path: path, Format: format}, newEnv(""), nil)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, at(out)); d != "" {
			t.Errorf("%s: %s", path, d)
		}
	}
}

func TestCheckpointOfFS(t *testing.T) {
	env := newEnv(t.TempDir())
	source := file.File[item]{Path: "a.jsonl", Checkpoint: "a.checkpoint",
		FS: fstest.MapFS{"a.jsonl": {Data: []byte("{\"id\":1}\n{\"id\":2}\n{\"id\":3}\n")}}}
	if _, err := load(t, source, env, func(int) int { return 2 }); err != nil {
		t.Fatal(err)
	}
	out, err := load(t, source, env, nil)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"a.jsonl:3"}, at(out)); d != "" {
		t.Error(d)
	}
}

func TestMistakesWithFS(t *testing.T) {
	fsys := fstest.MapFS{"data/a.jsonl": {Data: []byte("{}\n")}}
	_, err := load(t, file.File[item]{FS: fsys, Path: "a.jsonl"}, newEnv(""), nil)
	wantError(t, err, "no file a.jsonl in the FS", "root")
	wantError(t, file.File[item]{FS: fsys, Path: "./data/a.jsonl"}.Validate(), `"./data/a.jsonl"`, "FS")
	wantError(t, file.File[item]{FS: fsys, Path: "a.parquet"}.Validate(), "Parquet", "FS")
	_, err = file.File[item]{FS: fsys, Path: "data/a.jsonl"}.Encoder()
	wantError(t, err, "FS", "only be read")
}
