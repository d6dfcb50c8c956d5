package flow

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/flowkit-go/flow/primitives"
)

// sendCommand writes records as a producer would.
func (f *Flow) sendCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "send PROCESSOR|PRIMITIVE [VALUE...]", Short: "Write records to a source or sink",
		Long: `Write each VALUE, or each line of the standard input, as one record to what a
processor reads, or to a primitive by its name (kafka:orders, or orders). A value
that the primitive cannot decode is refused. Without --key the key is the one that
the primitive's own Key function gives.`,
		Example: "  send orders '{\"id\": \"a\", \"cents\": 100}'\n  send kafka:orders --key ada --header source=import < orders.jsonl",
		Args:    needs(1, -1, "a processor or primitive"),
		RunE:    f.runSend,
	}
	cmd.Flags().String("key", "", "key of the records; default: what the primitive makes of the value")
	cmd.Flags().StringArray("header", nil, "header as name=value; may be repeated")
	cmd.Flags().Bool("raw", false, "do not look at the values, and make no keys")
	return cmd
}

func (f *Flow) runSend(cmd *cobra.Command, args []string) (err error) {
	raw, _ := cmd.Flags().GetBool("raw")
	var template Raw
	if cmd.Flags().Changed("key") {
		key, _ := cmd.Flags().GetString("key")
		template.Key = []byte(key)
	}
	headers, _ := cmd.Flags().GetStringArray("header")
	for _, h := range headers {
		name, value, ok := strings.Cut(h, "=")
		if !ok || name == "" {
			return usageError{fmt.Errorf("--header %q: want name=value", h)}
		}
		template.Headers = append(template.Headers, primitives.Header{Name: name, Value: []byte(value)})
	}
	s, err := f.session(cmd)
	if err != nil {
		return err
	}
	defer s.close()
	res, p, err := f.resourceNamed(args[0])
	if err != nil {
		return err
	}
	sink, ok := res.value.(writable)
	if !ok {
		return usageError{fmt.Errorf("%s can only be read", res.name)}
	}
	if raw {
		res.probe = nil
	}
	out := &sender{verbSession: s, template: template, probe: res.probe}
	next, what := fromArgs(args[1:]), "value"
	if len(args) == 1 {
		next, what = fromLines(s.ctx, cmd.InOrStdin()), "line"
	}
	if out.w, err = opening(s, p, sink.OpenSink); err != nil {
		return err
	}
	defer closing(out.w, &err)
	for err == nil {
		values, more := next()
		if err = out.send(values, what); err == nil && more != nil {
			if errors.Is(more, io.EOF) {
				break
			}
			err = more
		}
	}
	told := fmt.Sprintf("sent %s to %s", counted(out.sent, "record"), res.name)
	if err != nil {
		if out.sent > 0 {
			err = noted(err, told)
		}
		return err
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), told)
	return err
}

// A sender writes values in batches.
type sender struct {
	*verbSession
	w        primitives.Writer
	template Raw
	probe    probe
	seen     int // values that were looked at
	sent     int
}

// send writes the values before the first that is wrong, and all of them if none is.
func (s *sender) send(values [][]byte, what string) error {
	var batch []Raw
	var wrong error
	for _, v := range values {
		s.seen++
		r := s.template
		r.Value = v
		if s.probe != nil {
			key, err := s.probe(v)
			if err != nil {
				wrong = usageError{fmt.Errorf("%s %d: %w: correct it, or send it with --raw", what, s.seen, err)}
				break
			}
			if r.Key == nil {
				r.Key = key
			}
		}
		batch = append(batch, r)
	}
	if len(batch) == 0 {
		return wrong
	}
	failed, err := s.write(s.ctx, s.w, batch)
	if err == nil || failed != nil {
		s.sent += len(batch) - len(failed)
	}
	if err != nil {
		return err
	}
	return wrong
}

// A batchOf values, and an error when there are no more of them: io.EOF at the end.
type batchOf func() (values [][]byte, more error)

func fromArgs(args []string) batchOf {
	return func() (values [][]byte, more error) {
		for _, a := range args {
			values = append(values, []byte(a))
		}
		return values, io.EOF
	}
}

// mostLines is how many lines are sent at once.
const mostLines = 500

// fromLines returns the lines that are there, waiting for the first only. Blank
// lines are left out. It ends with ctx, and leaves the reading of one more line to
// the end of the process.
func fromLines(ctx context.Context, r io.Reader) batchOf {
	in := bufio.NewReader(r)
	type result struct {
		values [][]byte
		more   error
	}
	return func() ([][]byte, error) {
		results := make(chan result, 1)
		go func() {
			var res result
			for len(res.values) < mostLines && res.more == nil {
				var line []byte
				line, res.more = in.ReadBytes('\n')
				if line = bytes.TrimRight(line, "\r\n"); len(bytes.TrimSpace(line)) > 0 {
					res.values = append(res.values, line)
				}
				if in.Buffered() == 0 && len(res.values) > 0 {
					break
				}
			}
			results <- res
		}()
		select {
		case res := <-results:
			return res.values, res.more
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// counted is a number of things.
func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
