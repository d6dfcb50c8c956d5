package remote

import (
	"encoding/json"
	"io"

	"github.com/spf13/cobra"
)

// say prints an answer: for people, or as JSON.
func say(cmd *cobra.Command, text string, forPeople func(io.Writer)) error {
	if plain, _ := cmd.Flags().GetBool("json"); plain {
		_, err := io.WriteString(cmd.OutOrStdout(), text)
		return err
	}
	forPeople(cmd.OutOrStdout())
	return nil
}

func asJSON(v any) (string, error) {
	text, err := json.MarshalIndent(v, "", "  ")
	return string(text) + "\n", err
}
