//go:build unix

package cpu

import (
	"time"

	"golang.org/x/sys/unix"
)

// processTime is the CPU time that the process has used; negative when not known.
func processTime() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return -1
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// systemTime is the system's clock; the zero time when it cannot be read.
func systemTime() time.Time {
	var t unix.Timeval
	if err := unix.Gettimeofday(&t); err != nil {
		return time.Time{}
	}
	return time.Unix(0, t.Nano())
}
