package file

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// disk is where files are when no FS is set. Its names are paths of the operating
// system, which [os.DirFS] would not take.
type disk struct{}

var (
	_ fs.StatFS = disk{}
	_ fs.GlobFS = disk{}
)

func (disk) Open(name string) (fs.File, error) { return os.Open(name) }

func (disk) Stat(name string) (fs.FileInfo, error) { return os.Stat(name) }

func (disk) Glob(pattern string) ([]string, error) { return filepath.Glob(pattern) }

// inputs returns the files that a source with this path reads, in order.
func inputs(fsys fs.FS, path string, format Format) ([]string, error) {
	// A file whose name happens to look like a pattern is that file.
	info, err := fs.Stat(fsys, path)
	if err == nil && info.IsDir() {
		return nil, fmt.Errorf("file: %s is a folder: name its files, as %s", path, filepath.Join(path, "*.csv"))
	}
	var found []string
	if err == nil {
		found = append(found, path)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("file: %w", err)
	}
	if format == Parquet && !strings.ContainsAny(path, "*?[") {
		parts, _, err := listParts(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("file: %w", err)
		}
		for _, n := range parts {
			found = append(found, partPath(path, n))
		}
	}
	if len(found) > 0 {
		return found, nil
	}
	matches, err := fs.Glob(fsys, path)
	if err != nil {
		return nil, fmt.Errorf("file: Path %q: %w", path, err)
	}
	for _, m := range matches {
		if info, err := fs.Stat(fsys, m); err == nil && info.Mode().IsRegular() {
			found = append(found, m)
		}
	}
	slices.Sort(found)
	if len(found) == 0 {
		if _, ok := fsys.(disk); !ok {
			return nil, fmt.Errorf("file: no file %s in the FS: paths start at its root, with the name of an embedded folder", path)
		}
		dir, _ := os.Getwd()
		return nil, fmt.Errorf("file: no file %s in %s: relative paths start at the working directory", path, dir)
	}
	return found, nil
}

// partPath returns the path of the n-th part of a Parquet sink.
func partPath(path string, n int) string {
	ext := filepath.Ext(path)
	return fmt.Sprintf("%s-%05d%s", strings.TrimSuffix(path, ext), n, ext)
}

const journalSuffix = ".journal"

// journalPath returns the path of the rows that will be the n-th part.
func journalPath(path string, n int) string { return partPath(path, n) + journalSuffix }

// listParts returns the numbers of the parts and of the journals of path, sorted.
func listParts(path string) (parts, journals []int, err error) {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return nil, nil, err
	}
	ext := filepath.Ext(path)
	stem := strings.TrimSuffix(filepath.Base(path), ext) + "-"
	for _, e := range entries {
		name, isJournal := strings.CutSuffix(e.Name(), journalSuffix)
		name, ok := strings.CutPrefix(name, stem)
		if !ok {
			continue
		}
		name, ok = strings.CutSuffix(name, ext)
		n, err := strconv.Atoi(name)
		if !ok || err != nil || len(name) < 5 || n < 1 {
			continue
		}
		if isJournal {
			journals = append(journals, n)
		} else {
			parts = append(parts, n)
		}
	}
	slices.Sort(parts)
	slices.Sort(journals)
	return parts, journals, nil
}

// syncDir makes a rename in dir survive a power failure. Where folders cannot be
// synced (Windows) there is nothing to do.
func syncDir(dir string) {
	if d, err := os.Open(dir); err == nil {
		_ = d.Sync()
		_ = d.Close()
	}
}
