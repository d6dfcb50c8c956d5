//go:build !unix && !windows

package cpu

import "time"

// processTime is not known.
func processTime() time.Duration { return -1 }
