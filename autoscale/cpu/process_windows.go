package cpu

import (
	"time"

	"golang.org/x/sys/windows"
)

// processTime is the CPU time that the process has used; negative when not known.
func processTime() time.Duration {
	var created, ended, kernel, user windows.Filetime
	if err := windows.GetProcessTimes(windows.CurrentProcess(), &created, &ended, &kernel, &user); err != nil {
		return -1
	}
	return ticks(kernel) + ticks(user)
}

// systemTime is the system's clock; the zero time when it cannot be read.
func systemTime() time.Time {
	var t windows.Filetime
	windows.GetSystemTimeAsFileTime(&t)
	return time.Unix(0, t.Nanoseconds())
}

// ticks is a Filetime that holds a duration, in units of 100 ns.
func ticks(t windows.Filetime) time.Duration {
	return time.Duration(int64(t.HighDateTime)<<32|int64(t.LowDateTime)) * 100
}
