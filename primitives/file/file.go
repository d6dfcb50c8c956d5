package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"github.com/flowkit-go/flow/primitives"
)

// A File is one or more files of records of type T, to read or to append to.
//
// What T can be depends on the format: anything that JSON can carry for JSON
// Lines; a struct for CSV and Parquet (map[string]string for reading CSV, too);
// a string, []byte or a type with a text form for Text. With T []byte a line is
// passed on as it is (for CSV: a row as a JSON object of strings). With T
// primitives.Record, JSON Lines hold whole records: key, value, headers, time.
type File[T any] struct {
	// Path names the file, relative to the working directory. A source also
	// takes a pattern as "data/*.jsonl" (see [filepath.Match]), whose files are
	// read in the order of their names, and text formats compressed with gzip
	// (".jsonl.gz"). Needed.
	//
	// A Parquet sink writes parts beside Path: out.parquet becomes
	// out-00001.parquet and so on. A source with the same Path reads them.
	Path string

	// FS is where a source finds Path, as an [embed.FS], in place of the working
	// directory. It cannot be written, and not hold Parquet.
	FS fs.FS

	// Format of the file. Default: what the extension says.
	Format Format

	// Codec of the lines of JSON Lines and Text. Default: JSON, or the text form.
	Codec primitives.Codec[T]

	// Comma separates the columns of CSV. Default ','. An ASCII character.
	Comma rune

	// MaxLine is the longest line, or row of CSV, that is read, in bytes. A
	// longer one is an error of the source. Default 16 MiB.
	MaxLine int

	// Checkpoint is a file in which a source remembers how far it has come, so
	// that the next run goes on there. A relative path lies in the data folder
	// (FLOW_DATA). Each processor needs its own. Default: none, every run reads
	// from the start. A file that has become shorter is read from the start.
	Checkpoint string

	// Sync makes a sink call fsync before it acknowledges, so that records also
	// survive a power failure. Default false: what is acknowledged has been
	// handed to the operating system, and survives the end of the process.
	Sync bool

	// A Parquet sink closes a part, and makes it visible, after so many rows
	// (default 1,000,000), bytes of JSON (default 128 MiB), or this time after its
	// first row (default 5 minutes), and when the flow ends. Until then rows lie
	// in a journal beside it, which the next run turns into a part if this one
	// cannot.
	PartRows  int
	PartBytes int64
	PartAge   time.Duration
}

const (
	defaultMaxLine   = 16 << 20
	defaultPartRows  = 1_000_000
	defaultPartBytes = 128 << 20
	defaultPartAge   = 5 * time.Minute
)

var (
	_ primitives.Source[string] = File[string]{}
	_ primitives.Sink[string]   = File[string]{}
	_ primitives.Bounded        = File[string]{}
	_ primitives.Validator      = File[string]{}
)

// String returns "file:" and the path.
func (f File[T]) String() string { return "file:" + f.Path }

// Bounded reports that a file ends.
func (f File[T]) Bounded() bool { return true }

// Validate reports an empty or malformed path, a format that cannot be told, and
// options out of range.
func (f File[T]) Validate() error {
	if f.Path == "" {
		return errors.New("file: Path is empty: name a file")
	}
	if _, err := filepath.Match(f.Path, ""); err != nil {
		return fmt.Errorf("file: Path %q: %w", f.Path, err)
	}
	format, _, err := formatOf(f.Path, f.Format)
	if err != nil {
		return err
	}
	if f.FS != nil {
		if !fs.ValidPath(f.Path) {
			return fmt.Errorf("file: Path %q: in an FS it starts at its root, with / between names, and without . or .. among them", f.Path)
		}
		if format == Parquet {
			return fmt.Errorf("file: %s: Parquet cannot be read from an FS: take FS away", f.Path)
		}
	}
	if c := f.Comma; c < 0 || c > 127 || c == '"' || c == '\r' || c == '\n' {
		return fmt.Errorf("file: %s: Comma is %q: must be an ASCII character that separates", f.Path, c)
	}
	if f.Codec != nil && (format == CSV || format == Parquet) {
		return fmt.Errorf("file: %s: Codec is set, but %s has its own: take it away", f.Path, format)
	}
	for _, o := range []struct {
		name  string
		value int64
	}{{"MaxLine", int64(f.MaxLine)}, {"PartRows", int64(f.PartRows)}, {"PartBytes", f.PartBytes}, {"PartAge", int64(f.PartAge)}} {
		if o.value < 0 {
			return fmt.Errorf("file: %s: %s is %d: must not be negative (0 is the default)", f.Path, o.name, o.value)
		}
	}
	return nil
}

// Decoder returns the decoder of the file's format. It errs when the format
// cannot carry a T.
func (f File[T]) Decoder() (primitives.Decoder[T], error) {
	if err := f.Validate(); err != nil {
		return nil, err
	}
	format, _, err := formatOf(f.Path, f.Format)
	if err != nil {
		return nil, err
	}
	var decode primitives.Decoder[T]
	switch format {
	case CSV:
		decode, err = csvDecoder[T]()
	case Parquet:
		if err = parquetType[T](); err == nil {
			decode, err = primitives.DecoderOf(primitives.JSON[T]())
		}
	default:
		var codec primitives.Codec[T]
		if codec, err = f.lineCodec(format); err == nil {
			decode, err = primitives.DecoderOf(codec)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("file: %s: %w", f.Path, err)
	}
	return located(decode), nil
}

// Encoder returns the encoder of the file's format. It errs when the format
// cannot store a T, and when Path is not one that can be written.
func (f File[T]) Encoder() (primitives.Encoder[T], error) {
	format, err := f.writable()
	if err != nil {
		return nil, err
	}
	var encode primitives.Encoder[T]
	switch format {
	case CSV:
		encode, err = csvEncoder[T](f.comma())
	case Parquet:
		if err = parquetType[T](); err == nil {
			encode, err = primitives.EncoderOf(primitives.JSON[T](), nil)
		}
	default:
		var codec primitives.Codec[T]
		if codec, err = f.lineCodec(format); err == nil {
			encode, err = primitives.EncoderOf(codec, nil)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("file: %s: %w", f.Path, err)
	}
	return encode, nil
}

// lineCodec returns the codec of JSON Lines or Text. A nil codec is the one that
// DecoderOf and EncoderOf choose.
func (f File[T]) lineCodec(format Format) (primitives.Codec[T], error) {
	if f.Codec != nil {
		return f.Codec, nil
	}
	if format == JSONLines {
		if c, ok := any(recordCodec{}).(primitives.Codec[T]); ok {
			return c, nil
		}
		if c, ok := any(rawJSON{}).(primitives.Codec[T]); ok {
			return c, nil
		}
		return primitives.JSON[T](), nil
	}
	t := reflect.TypeFor[T]()
	switch reflect.Zero(t).Interface().(type) {
	case string, []byte, primitives.Record:
		return nil, nil
	}
	if hasText(t) {
		return primitives.CodecFor[T]()
	}
	return nil, fmt.Errorf("a line of text is not a %s: use a string, []byte or a type with MarshalText and UnmarshalText", t)
}

// writable returns the format, or why the file can only be read.
func (f File[T]) writable() (Format, error) {
	if err := f.Validate(); err != nil {
		return "", err
	}
	format, gz, err := formatOf(f.Path, f.Format)
	switch {
	case err != nil:
		return "", err
	case f.FS != nil:
		return "", fmt.Errorf("file: %s: FS is set, but an FS can only be read: take it away", f.Path)
	case gz:
		return "", fmt.Errorf("file: %s: a compressed file can only be read: take .gz away", f.Path)
	case strings.ContainsAny(f.Path, "*?["):
		return "", fmt.Errorf("file: %s: a pattern can only be read: name one file to write", f.Path)
	}
	return format, nil
}

// OpenSource looks for the files and opens the checkpoint. It errs when there is
// no such file.
func (f File[T]) OpenSource(_ context.Context, env *primitives.Env) (primitives.Reader, error) {
	if err := f.Validate(); err != nil {
		return nil, err
	}
	format, _, err := formatOf(f.Path, f.Format)
	if err != nil {
		return nil, err
	}
	fsys := f.FS
	if fsys == nil {
		fsys = disk{}
	}
	paths, err := inputs(fsys, f.Path, format)
	if err != nil {
		return nil, err
	}
	maxLine := orDefault(f.MaxLine, defaultMaxLine)
	r := &reader{env: env, name: f.String(), fsys: fsys, paths: paths, files: map[string]*progress{}}
	r.open = func(path string, next int64) (rows, error) {
		switch format {
		case Parquet:
			return openParquet[T](path, next)
		case CSV:
			return openCSV(fsys, path, next, f.comma(), maxLine)
		}
		return openLines(fsys, path, next, maxLine, format == JSONLines)
	}
	if f.Checkpoint != "" {
		if r.ledger, err = openLedger(statePath(env, f.Checkpoint)); err != nil {
			return nil, fmt.Errorf("file: checkpoint of %s: %w", f.Path, err)
		}
	}
	return r, nil
}

// OpenSink opens or makes the file, and mends what a crash left of its last
// line. It errs when another process writes it, and when its columns are others.
func (f File[T]) OpenSink(_ context.Context, env *primitives.Env) (primitives.Writer, error) {
	format, err := f.writable()
	if err != nil {
		return nil, err
	}
	abs, err := filepath.Abs(f.Path)
	if err != nil {
		return nil, fmt.Errorf("file: %s: %w", f.Path, err)
	}
	kind := string(format)
	var header []byte
	switch format {
	case CSV:
		if header, err = csvHeader[T](f.comma()); err != nil {
			return nil, fmt.Errorf("file: %s: %w", f.Path, err)
		}
		kind += " with the columns " + strings.TrimSuffix(string(header), "\n")
	case Parquet:
		kind += " of " + reflect.TypeFor[T]().String()
	}
	a, release, err := primitives.Share(env.Shared, "file:"+abs, func() (*appender, error) {
		var dest destination
		var err error
		if format == Parquet {
			dest, err = openParts(f.Path, f.parts(), f.Sync, partOf[T], env.Logger)
		} else {
			dest, err = openLog(f.Path, format, header, f.comma(), f.Sync, env.Logger)
		}
		if err != nil {
			return nil, err
		}
		return startAppender(f.Path, kind, format, dest), nil
	})
	if err != nil {
		return nil, fmt.Errorf("file: open %s to append: %w", f.Path, err)
	}
	if a.kind != kind {
		return nil, errors.Join(fmt.Errorf("file: %s: one processor writes it as %s, another as %s: give them the same type and format, or two files",
			f.Path, a.kind, kind), release())
	}
	return newWriter(a, release), nil
}

func (f File[T]) comma() byte { return byte(orDefault(f.Comma, ',')) }

func (f File[T]) parts() partLimits {
	return partLimits{
		rows:  orDefault(f.PartRows, defaultPartRows),
		bytes: orDefault(f.PartBytes, defaultPartBytes),
		age:   orDefault(f.PartAge, defaultPartAge),
	}
}

// statePath resolves the path of a file in which a primitive keeps its state.
func statePath(env *primitives.Env, path string) string {
	if filepath.IsAbs(path) || env.DataDir == "" {
		return primitives.DataPath(path)
	}
	return filepath.Join(env.DataDir, path)
}

func orDefault[V comparable](v, byDefault V) V {
	var zero V
	if v == zero {
		return byDefault
	}
	return v
}
