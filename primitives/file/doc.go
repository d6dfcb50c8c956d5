// Package file reads and writes files of records, and watches folders.
//
// [File] is a source and a sink: CSV, JSON Lines, Parquet or plain text, named by
// the extension of its path. As a source it is bounded: the processor is done
// when the files have been read. As a sink it appends, so that a file is valid
// after the process was killed at any moment, and holds every record that was
// acknowledged. [Watch] is a source of the changes in a folder.
//
// It is called by package runtime, through the interfaces of package primitives.
// It never loads a file as a whole, never follows a file that grows, and never
// deletes or changes what it did not write itself, except for a torn last line,
// which it keeps beside the file.
package file
