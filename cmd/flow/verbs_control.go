package main

import (
	"cmp"

	"github.com/spf13/cobra"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/runtime/remote"
)

// controlCommands are scale, pause and resume. They build nothing: they ask the flow
// that runs, by flow run or by itself.
func controlCommands() []*cobra.Command {
	all := remote.Commands(remote.Config{
		Admin: func(cmd *cobra.Command) (string, error) {
			env, err := environmentOf(cmd)
			if err != nil {
				return "", err
			}
			return cmp.Or(env.get("FLOW_ADMIN"), flow.DefaultAdminAddr), nil
		},
		Usage: func(err error) error { return usageError{err} },
	})
	for _, cmd := range all {
		envFileFlag(cmd)
	}
	return all
}
