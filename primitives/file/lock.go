package file

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// errInUse says that another process, or another flow in this one, has the file.
var errInUse = errors.New("another process, or another flow in this one, has it open: stop that, or use a file of its own for each")

// lockFile makes path if need be and holds an exclusive lock on it until it is
// closed, or the process ends. The file stays: to remove it would be a race.
func lockFile(path string) (io.Closer, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := lock(f); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
	}
	return f, nil
}
