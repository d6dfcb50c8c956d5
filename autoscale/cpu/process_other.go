//go:build !unix && !windows

package cpu

import "time"

// processTime is not known.
func processTime() time.Duration { return -1 }

// systemTime is not known.
func systemTime() time.Time { return time.Time{} }
