package file

import (
	"fmt"
	"path/filepath"
	"strings"
)

// A Format is how records lie in a file.
type Format string

const (
	// JSONLines is one JSON document per line: .jsonl, .ndjson.
	JSONLines Format = "jsonl"

	// CSV is a header and one row per record, as RFC 4180 has it: .csv. What is
	// read needs a header row with the names of the columns.
	CSV Format = "csv"

	// Parquet is Apache Parquet: .parquet.
	Parquet Format = "parquet"

	// Text is one string per line, as it is: .txt.
	Text Format = "text"

	// journalLines are the JSON Lines that become a Parquet file.
	journalLines Format = "journal"
)

// formatOf returns the format of a file: the one set, or what the extension
// says. The second result tells that the file is compressed with gzip.
func formatOf(path string, set Format) (f Format, gz bool, err error) {
	ext := strings.ToLower(filepath.Ext(path))
	if ext == ".gz" {
		gz = true
		ext = strings.ToLower(filepath.Ext(path[:len(path)-len(ext)]))
	}
	switch set {
	case JSONLines, CSV, Text:
		return set, gz, nil
	case Parquet:
		if gz {
			return "", false, fmt.Errorf("file: %s: Parquet compresses by itself: take .gz away", path)
		}
		return set, false, nil
	case "":
	default:
		return "", false, fmt.Errorf("file: %s: Format is %q: must be one of csv, jsonl, parquet and text", path, string(set))
	}
	switch ext {
	case ".jsonl", ".ndjson":
		return JSONLines, gz, nil
	case ".csv":
		return CSV, gz, nil
	case ".txt":
		return Text, gz, nil
	case ".parquet":
		return formatOf(path, Parquet)
	case ".json":
		return "", false, fmt.Errorf("file: %s: a .json file holds one document: name it .jsonl, or set Format to file.JSONLines when it has one per line", path)
	}
	return "", false, fmt.Errorf("file: %s: the extension does not tell the format: set Format", path)
}
