package file_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/file"
)

type item struct {
	ID    int     `csv:"id" json:"id" parquet:"id"`
	Name  string  `json:"name" parquet:"name"`
	Price float64 `csv:"price" json:"price" parquet:"price"`
}

// at returns where the outcomes were found, with a mark for the invalid ones.
func at[T any](out []outcome[T]) []string {
	var s []string
	for _, o := range out {
		if o.Err != nil {
			o.At += "!"
		}
		s = append(s, o.At)
	}
	return s
}

func TestJSONLinesErrorsNameFileAndLine(t *testing.T) {
	dir := t.TempDir()
	path := writeFile(t, filepath.Join(dir, "x.jsonl"), "\xef\xbb\xbf{\"id\":1}\r\n\n  \n{\"id\":\"two\"}\n{\n{\"id\":3}")
	out, err := load(t, file.File[item]{Path: path}, newEnv(""), nil)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"x.jsonl:1", "x.jsonl:4!", "x.jsonl:5!", "x.jsonl:6"}, at(out)); d != "" {
		t.Fatal(d)
	}
	wantError(t, out[1].Err, path+":4:", "file_test.item", "id")
	var decode *primitives.DecodeError
	if !errors.As(out[1].Err, &decode) || decode.Field != "id" || !primitives.IsPermanent(out[1].Err) {
		t.Errorf("not a DecodeError of field id: %#v", out[1].Err)
	}
	if out[0].Value.ID != 1 || out[3].Value.ID != 3 {
		t.Errorf("got %+v", out)
	}
}

func TestCSVIsStrict(t *testing.T) {
	path := writeFile(t, filepath.Join(t.TempDir(), "x.csv"), "\xef\xbb\xbfID,extra,name,PRICE\r\n"+
		"1,x,\"a\nb\",1.5\r\n"+ // lines 2 and 3
		"\r\n"+
		"x,,c,1\n"+ // line 5
		"2,,c\n"+ // 6: too few
		"3,,c\"d,1\n"+ // 7: a stray quote
		"4,,e,\n"+ // 8: no text is no number
		"99999999999999999999,,f,1\n"+ // 9
		"5,,\xff,1\n"+ // 10
		"6,,g,2") // 11
	out, err := load(t, file.File[item]{Path: path}, newEnv(""), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"x.csv:2", "x.csv:5!", "x.csv:6!", "x.csv:7!", "x.csv:8!", "x.csv:9!", "x.csv:10!", "x.csv:11"}
	if d := cmp.Diff(want, at(out)); d != "" {
		t.Fatal(d)
	}
	if d := cmp.Diff([]item{{1, "a\nb", 1.5}, {6, "g", 2}}, []item{out[0].Value, out[7].Value}); d != "" {
		t.Error(d)
	}
	wantError(t, out[1].Err, path+":5:", "field id", `"x" is not a int`)
	wantError(t, out[2].Err, path+":6:", "3 columns, but the header has 4")
	wantError(t, out[3].Err, path+":7:", "column 5 of line 7", "bare")
	wantError(t, out[4].Err, path+":8:", "field price", `"" is not a float64`)
	wantError(t, out[5].Err, path+":9:", "out of range for int")
	wantError(t, out[6].Err, path+":10:", `column "name" is not UTF-8`)
	for _, o := range out[1:7] {
		if !primitives.IsPermanent(o.Err) {
			t.Errorf("%v would be tried again", o.Err)
		}
	}
}

func TestCSVRowsShowThemselves(t *testing.T) {
	path := writeFile(t, filepath.Join(t.TempDir(), "x.csv"), "id,\"na\"\"me\"\n1,\"a\"\"b\\\t\"\n2\n")
	out, err := load(t, file.File[primitives.Record]{Path: path}, newEnv(""), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(out[0].Value.Value); got != `{"id":"1","na\"me":"a\"b\\\t"}` {
		t.Errorf("a row is %s", got)
	}
	if got, _ := out[0].Value.Header(file.HeaderFile); string(got) != path {
		t.Errorf("its file is %q", got)
	}
	wantError(t, out[1].Err, "1 columns")
	maps := values(t, file.File[map[string]string]{Path: writeFile(t, filepath.Join(t.TempDir(), "y.csv"), "a,b\n1,2\n")})
	if d := cmp.Diff([]map[string]string{{"a": "1", "b": "2"}}, maps); d != "" {
		t.Error(d)
	}
}

func TestUnclosedQuoteIsNotReadWhole(t *testing.T) {
	path := writeFile(t, filepath.Join(t.TempDir(), "x.csv"), "id,name\n1,\"a\n"+strings.Repeat("2,b\n", 200_000))
	_, err := load(t, file.File[item]{Path: path, MaxLine: 1000}, newEnv(""), nil)
	wantError(t, err, path, "MaxLine", "quote")
}

func TestCSVHeaders(t *testing.T) {
	dir := t.TempDir()
	_, err := load(t, file.File[item]{Path: writeFile(t, filepath.Join(dir, "twice.csv"), "id,id\n1,2\n")}, newEnv(""), nil)
	wantError(t, err, "twice.csv", `"id"`)
	for _, content := range []string{"", "id,name\n", "id,name"} {
		if got := values(t, file.File[item]{Path: writeFile(t, filepath.Join(dir, "empty.csv"), content)}); len(got) > 0 {
			t.Errorf("%q has rows %v", content, got)
		}
	}
}

func TestMaxLine(t *testing.T) {
	dir := t.TempDir()
	for _, big := range []int{1001, 500_000} {
		for _, end := range []string{"", "\n", "\nb\n"} {
			path := writeFile(t, filepath.Join(dir, "x.txt"), "a\n"+strings.Repeat("x", big)+end)
			out, err := load(t, file.File[string]{Path: path, MaxLine: 1000}, newEnv(""), nil)
			wantError(t, err, path+":2:", "MaxLine", "1000")
			if d := cmp.Diff([]string{"x.txt:1"}, at(out)); d != "" && len(out) > 0 {
				t.Error(d)
			}
		}
	}
	long := strings.Repeat("y", 300_000) // more than a chunk
	path := writeFile(t, filepath.Join(dir, "x.txt"), "a\n"+long+"\n"+long+"\r\nb")
	if d := cmp.Diff([]string{"a", long, long, "b"}, values(t, file.File[string]{Path: path})); d != "" {
		t.Error(d)
	}
	path = writeFile(t, filepath.Join(dir, "x.csv"), "id,name\n1,"+strings.Repeat("x", 1001)+"\n")
	_, err := load(t, file.File[item]{Path: path, MaxLine: 1000}, newEnv(""), nil)
	wantError(t, err, path+":2:", "MaxLine")
}

func TestGzipAndPatterns(t *testing.T) {
	dir := t.TempDir()
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	fmt.Fprint(z, "c\nd\n")
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "2.txt.gz"), buf.String())
	writeFile(t, filepath.Join(dir, "10.txt.gz"), buf.String()[:buf.Len()-4])
	if d := cmp.Diff([]string{"c", "d"}, values(t, file.File[string]{Path: filepath.Join(dir, "2.txt.gz")})); d != "" {
		t.Error(d)
	}
	_, err := load(t, file.File[string]{Path: filepath.Join(dir, "10.txt.gz")}, newEnv(""), nil)
	wantError(t, err, "10.txt.gz", "unexpected EOF")

	for _, name := range []string{"b.txt", "a.txt", "[x].txt", "c.csv"} {
		writeFile(t, filepath.Join(dir, name), name)
	}
	if err := os.Mkdir(filepath.Join(dir, "d.txt"), 0o755); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"[x].txt", "a.txt", "b.txt"}, values(t, file.File[string]{Path: filepath.Join(dir, "*.txt")})); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"[x].txt"}, values(t, file.File[string]{Path: filepath.Join(dir, "[x].txt")})); d != "" {
		t.Error(d)
	}
}

func TestMissingFiles(t *testing.T) {
	dir := t.TempDir()
	for path, want := range map[string]string{"none.csv": "no file", "*.jsonl": "no file", ".": "the extension"} {
		_, err := load(t, file.File[item]{Path: filepath.Join(dir, path)}, newEnv(""), nil)
		wantError(t, err, want)
	}
	_, err := load(t, file.File[item]{Path: dir, Format: file.CSV}, newEnv(""), nil)
	wantError(t, err, "is a folder")
	bad := writeFile(t, filepath.Join(dir, "x.parquet"), "not parquet at all, but long enough to look at")
	_, err = load(t, file.File[item]{Path: bad}, newEnv(""), nil)
	wantError(t, err, "x.parquet")
}

func TestParquetOfOtherColumns(t *testing.T) {
	type more struct {
		item
		Extra []string
	}
	type clash struct {
		ID struct {
			A string `parquet:"a"`
		} `parquet:"id" json:"id"`
	}
	type text struct {
		ID string `parquet:"id" json:"id"`
	}
	type list struct {
		ID []int `parquet:"id" json:"id"`
	}
	type small struct {
		ID int32 `parquet:"id" json:"id"`
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "x.parquet")
	store(t, file.File[more]{Path: path}, more{item{1, "a", 2}, []string{"x"}})
	if d := cmp.Diff([]item{{1, "a", 2}}, values(t, file.File[item]{Path: path})); d != "" {
		t.Error(d)
	}
	_, err := load(t, file.File[clash]{Path: path}, newEnv(""), nil)
	wantError(t, err, "x-00001.parquet", "column id", "INT64", "a group")
	_, err = load(t, file.File[text]{Path: path}, newEnv(""), nil)
	wantError(t, err, "x-00001.parquet", "column id", "INT64", "BYTE_ARRAY")
	_, err = load(t, file.File[list]{Path: path}, newEnv(""), nil)
	wantError(t, err, "x-00001.parquet", "column id", "a list")
	narrow := filepath.Join(dir, "y.parquet")
	store(t, file.File[small]{Path: narrow}, small{ID: -5})
	if got := values(t, file.File[item]{Path: narrow}); got[0].ID != -5 {
		t.Errorf("got %v", got)
	}
}

func TestCheckpointGoesOnWhereItWas(t *testing.T) {
	for name, content := range map[string]string{
		"a.csv":   "id,name\n1,\"x\ny\"\n2,b\n\n3,c\n4,d\n",
		"a.jsonl": "{\"id\":1}\n{\"id\":2}\n\n{\"id\":3}\n{\"id\":4}\n",
	} {
		dir := t.TempDir()
		path := writeFile(t, filepath.Join(dir, name), content)
		f := file.File[item]{Path: path, Checkpoint: "c/at.jsonl"}
		ids := func(commit int) []int {
			t.Helper()
			out, err := load(t, f, newEnv(dir), func(n int) int { return min(n, commit) })
			if err != nil {
				t.Fatal(err)
			}
			var ids []int
			for _, o := range out {
				ids = append(ids, o.Value.ID)
			}
			return ids
		}
		for _, step := range []struct {
			commit int
			want   []int
		}{{1, []int{1, 2, 3, 4}}, {0, []int{2, 3, 4}}, {2, []int{2, 3, 4}}, {1, []int{4}}, {0, nil}} {
			if d := cmp.Diff(step.want, ids(step.commit)); d != "" {
				t.Errorf("%s: %s", name, d)
			}
		}
		// The next part of a file that has grown.
		writeFile(t, path, content+strings.Replace(strings.SplitAfter(content, "\n")[len(strings.SplitAfter(content, "\n"))-2], "4", "5", 1))
		if d := cmp.Diff([]int{5}, ids(1)); d != "" {
			t.Errorf("%s: %s", name, d)
		}
		// Another file of the same name.
		second := strings.LastIndexByte(content[:strings.IndexByte(content, '2')], '\n') + 1
		writeFile(t, path, content[:second])
		if got := ids(0); len(got) == 0 || got[0] != 1 {
			t.Errorf("%s: a file that became shorter is not read anew: %v", name, got)
		}
	}
}

func TestCheckpointOfParquet(t *testing.T) {
	dir := t.TempDir()
	f := file.File[item]{Path: filepath.Join(dir, "x.parquet"), Checkpoint: filepath.Join(dir, "at.jsonl")}
	for part := range 2 {
		var items []item
		for i := range 1000 {
			items = append(items, item{ID: part*1000 + i})
		}
		store(t, f, items...)
	}
	for _, want := range []int{2000, 1300, 600, 0} {
		out, err := load(t, f, newEnv(dir), func(n int) int { return min(n, 700) })
		if err != nil || len(out) != want {
			t.Fatalf("%d rows (%v), want %d", len(out), err, want)
		}
		if want > 0 && out[0].Value.ID != 2000-want {
			t.Errorf("starts at %d, want %d", out[0].Value.ID, 2000-want)
		}
	}
}

func TestCheckpointIsForOneReader(t *testing.T) {
	dir := t.TempDir()
	f := file.File[item]{Path: writeFile(t, filepath.Join(dir, "x.jsonl"), "{}\n"), Checkpoint: "at"}
	r, err := f.OpenSource(t.Context(), newEnv(dir))
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.OpenSource(t.Context(), newEnv(dir))
	wantError(t, err, "has it open")
	if err := r.Close(t.Context()); err != nil {
		t.Error(err)
	}
	writeFile(t, filepath.Join(dir, "at"), "rubbish\n")
	_, err = f.OpenSource(t.Context(), newEnv(dir))
	wantError(t, err, "at:1", "not a checkpoint")
	// A torn last line was never acknowledged.
	writeFile(t, filepath.Join(dir, "at"), fmt.Sprintf("{\"path\":%q,\"next\":2}\n{\"pat", f.Path))
	if out, err := load(t, f, newEnv(dir), nil); err != nil || len(out) != 0 {
		t.Errorf("got %v, %v", out, err)
	}
}

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		source primitives.Validator
		want   string
	}{
		{file.File[item]{}, "Path is empty"},
		{file.File[item]{Path: "x.json"}, "set Format to file.JSONLines"},
		{file.File[item]{Path: "x.foo"}, "set Format"},
		{file.File[item]{Path: "x.foo", Format: "xml"}, `Format is "xml"`},
		{file.File[item]{Path: "x.parquet.gz"}, "take .gz away"},
		{file.File[item]{Path: "[x.csv"}, "syntax error in pattern"},
		{file.File[item]{Path: "x.csv", Comma: '→'}, "Comma"},
		{file.File[item]{Path: "x.csv", MaxLine: -1}, "MaxLine is -1"},
		{file.File[item]{Path: "x.csv", Codec: primitives.JSON[item]()}, "Codec is set"},
		{file.Watch{}, "Dir of a Watch is empty"},
		{file.Watch{Dir: "x", Pattern: "[a"}, "syntax error in pattern"},
		{file.Watch{Dir: "x", Pattern: "a/*"}, "not for paths"},
		{file.Watch{Dir: "x", Events: []file.Op{"moved"}}, `"moved"`},
		{file.Watch{Dir: "x", Settle: -1}, "must not be negative"},
	} {
		err := c.source.Validate()
		wantError(t, err, c.want)
	}
	if err := (file.File[item]{Path: "x.JSONL.GZ"}).Validate(); err != nil {
		t.Error(err)
	}
	if err := (file.File[item]{Path: "x.json", Format: file.JSONLines}).Validate(); err != nil {
		t.Error(err)
	}
}

func TestTypesThatAFormatCannotCarry(t *testing.T) {
	type slice struct{ Tags []string }
	type twice struct {
		A int `csv:"x"`
		B int `csv:"x"`
	}
	check := func(name string, decoder, encoder error, want string) {
		t.Helper()
		for _, err := range []error{decoder, encoder} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got %v, want %q", name, err, want)
			}
		}
	}
	d, e := errsOf(file.File[slice]{Path: "x.csv"})
	check("slice in CSV", d, e, "field Tags")
	d, e = errsOf(file.File[twice]{Path: "x.csv"})
	check("column twice", d, e, `column "x"`)
	d, e = errsOf(file.File[int]{Path: "x.csv"})
	check("int in CSV", d, e, "use a struct")
	d, e = errsOf(file.File[int]{Path: "x.parquet"})
	check("int in Parquet", d, e, "use a struct")
	d, e = errsOf(file.File[struct{ C chan int }]{Path: "x.parquet"})
	check("channel in Parquet", d, e, "chan")
	d, e = errsOf(file.File[chan int]{Path: "x.jsonl"})
	check("channel in JSON", d, e, "chan")
	d, e = errsOf(file.File[item]{Path: "x.txt"})
	check("struct as text", d, e, "a line of text is not a file_test.item")
	_, e = errsOf(file.File[map[string]string]{Path: "x.csv"})
	wantError(t, e, "use a struct")
	_, e = errsOf(file.File[string]{Path: "x.txt.gz"})
	wantError(t, e, "can only be read")
	_, e = errsOf(file.File[string]{Path: "*.txt"})
	wantError(t, e, "can only be read")
}

func errsOf[T any](f file.File[T]) (error, error) {
	_, d := f.Decoder()
	_, e := f.Encoder()
	return d, e
}
