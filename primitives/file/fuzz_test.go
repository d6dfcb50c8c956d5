package file_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/file"
)

// FuzzCSVRows compares what is read with what encoding/csv makes of the file.
func FuzzCSVRows(f *testing.F) {
	f.Add([]byte("id,name\n1,a\n2,\"b\nc\"\n"))
	f.Add([]byte("\xef\xbb\xbfid,name\r\n1,\"a\"\"\"\r\n\r\nx\n,"))
	f.Add([]byte("id\n\"\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "x.csv")
		writeFile(t, path, string(data))
		out, err := load(t, file.File[map[string]string]{Path: path}, newEnv(""), nil)
		in := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))))
		in.FieldsPerRecord = -1
		header, headerErr := in.Read()
		if err != nil {
			if headerErr == nil && !strings.Contains(err.Error(), "header: column") {
				t.Fatalf("%v, but encoding/csv reads the header %q", err, header)
			}
			return
		}
		for _, o := range out {
			row, err := in.Read()
			if o.Err != nil {
				if err == nil && len(row) == len(header) && validText(row) {
					t.Fatalf("%v, but encoding/csv reads %q", o.Err, row)
				}
				continue
			}
			if err != nil || len(row) != len(header) {
				t.Fatalf("row %v, but encoding/csv says %q, %v", o.Value, row, err)
			}
			for i, name := range header {
				if o.Value[name] != row[i] {
					t.Fatalf("column %q is %q, want %q", name, o.Value[name], row[i])
				}
			}
		}
		if row, err := in.Read(); err == nil {
			t.Fatalf("row %q is missing", row)
		}
	})
}

func validText(row []string) bool {
	for _, text := range row {
		if !utf8.ValidString(text) {
			return false
		}
	}
	return true
}

// FuzzCSVDecode gives the decoder rows that the reader did not make: any bytes,
// and any text as package json writes it.
func FuzzCSVDecode(f *testing.F) {
	f.Add([]byte(`{"id":"1","name":"a\"b","price":"1.5"}`), "a\"\\\n\u2028<\x00")
	f.Add([]byte(`{}`), "")
	f.Add([]byte(`{"id":"1",}`), "\\u0041")
	f.Add([]byte("{\"id\":\"1\"}\x00"), "/")
	decode, err := file.File[item]{Path: "x.csv"}.Decoder()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte, text string) {
		if _, err := decode([]primitives.Record{{Value: data}}); err != nil && !primitives.IsPermanent(err) {
			t.Errorf("%v would be tried again", err)
		} else if err == nil && !json.Valid(bytes.ToValidUTF8(data, nil)) && !hasControls(data) && !bytes.ContainsRune(data, '\\') {
			t.Errorf("%q is taken for a row", data)
		}
		row, err := json.Marshal(map[string]string{"name": text, text: "x", "id": "7"})
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]string{}
		if err := json.Unmarshal(row, &want); err != nil {
			t.Fatal(err)
		}
		if strings.EqualFold(text, "id") || strings.EqualFold(text, "name") || strings.EqualFold(text, "price") {
			return
		}
		v, err := decode([]primitives.Record{{Value: row}})
		if err != nil || v.Name != want["name"] || v.ID != 7 {
			t.Errorf("%s is %+v, %v", row, v, err)
		}
	})
}

// hasControls reports bytes that the decoder lets pass in strings, and JSON does not.
func hasControls(data []byte) bool {
	return bytes.ContainsFunc(data, func(r rune) bool { return r < ' ' })
}

// FuzzMend cuts a valid file anywhere, adds rubbish, and appends: what was whole
// before the cut is still there, and what was appended can be read.
func FuzzMend(f *testing.F) {
	f.Add(uint16(0), []byte(""))
	f.Add(uint16(20), []byte("\""))
	f.Add(uint16(40), []byte("x\"a\n\"b,c\n"))
	f.Add(uint16(99), []byte("{\"id\":7"))
	f.Add(uint16(60), []byte("\"\r\"\n,\r\n\"\"\n\xff"))
	items := []item{{1, "a", 1}, {2, "b,\n\"c\"\r\nd", 2}, {3, "", 3}, {4, "\n", 4}, {5, " \"x", 5}}
	f.Fuzz(func(t *testing.T, cut uint16, rubbish []byte) {
		for _, name := range []string{"x.csv", "x.jsonl"} {
			sink := file.File[item]{Path: filepath.Join(t.TempDir(), name)}
			whole := 0
			var sizes []int64 // of the file behind each item
			for _, v := range items {
				store(t, sink, v)
				info, err := os.Stat(sink.Path)
				if err != nil {
					t.Fatal(err)
				}
				sizes = append(sizes, info.Size())
			}
			at := int64(cut) % (sizes[len(sizes)-1] + 1)
			for _, s := range sizes {
				if s <= at {
					whole++
				}
			}
			content := readFile(t, sink.Path)[:at] + string(rubbish)
			writeFile(t, sink.Path, content)

			encode, err := sink.Encoder()
			if err != nil {
				t.Fatal(err)
			}
			w, err := sink.OpenSink(t.Context(), newEnv(""))
			if err != nil {
				if whole > 0 || name != "x.csv" {
					t.Fatalf("%s: %v", name, err)
				}
				continue // the rubbish is the header
			}
			last := item{9, "last", 9}
			if err := write(t.Context(), w, encode, last); err != nil {
				t.Fatal(err)
			}
			if err := w.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			out, err := load(t, sink, newEnv(""), nil)
			if err != nil {
				t.Fatalf("%s: %q: %v", name, content, err)
			}
			if len(out) < whole+1 || out[len(out)-1].Value != last {
				t.Fatalf("%s: %q: what was appended is not the last of %d records", name, content, len(out))
			}
			for i, want := range items[:whole] {
				want.Name = strings.ReplaceAll(want.Name, "\r\n", "\n") // as encoding/csv reads it
				got := out[i].Value
				got.Name = strings.ReplaceAll(got.Name, "\r\n", "\n")
				if d := cmp.Diff(want, got); d != "" {
					t.Fatalf("%s: %q: %s", name, content, d)
				}
			}
		}
	})
}
