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
