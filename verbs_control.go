package flow

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/flowkit-go/flow/runtime/remote"
)

// controlCommands are scale, pause and resume: they ask the flow that runs, in another
// process, at the address that this one would have.
func (f *Flow) controlCommands() []*cobra.Command {
	return remote.Commands(remote.Config{
		Admin: func(*cobra.Command) (string, error) {
			opts, errs := f.opts.settled()
			if len(errs) > 0 {
				return "", usageError{errors.Join(errs...)}
			}
			return opts.adminAddr, nil
		},
		Usage: func(err error) error { return usageError{err} },
	})
}
