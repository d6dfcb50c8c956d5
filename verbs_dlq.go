package flow

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/flowkit-go/flow/primitives"
)

// dlqCommand works on dead letters.
func (f *Flow) dlqCommand() *cobra.Command {
	dlq := &cobra.Command{
		Use: "dlq", Short: "List, show, send back or drop dead letters",
		Long: `Work on the dead letters of consumers that have the option DeadLetter. A letter is
named by its position there, as 3@812 (partition and offset). It is listed until
it is sent back or dropped, by anyone.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("%q is not a command of dlq: use one of list, show, retry, drop", args[0])}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	list := &cobra.Command{
		Use: "list [CONSUMER]", Short: "List dead letters, one per line",
		Args: needs(0, 1, "at most one consumer"), RunE: f.runDlqList,
	}
	list.Flags().Bool("json", false, "print a JSON object per line, with key, value and headers")
	show := &cobra.Command{
		Use: "show CONSUMER POSITION...", Short: "Show dead letters in full",
		Args: needs(2, -1, "a consumer and positions"), RunE: f.runDlqShow,
	}
	retry := &cobra.Command{
		Use: "retry CONSUMER POSITION...|--all", Short: "Send dead letters back to where they were read",
		Long: `Write the records back to the topic or queue that they were read from, with key,
value and headers as they were there, and then mark them as done. A process that is
ended between the two leaves letters listed that are sent back already: they then
may be handled twice, and none is lost.`,
		Args: needs(1, -1, "a consumer, and positions or --all"), RunE: f.runDlqRetry,
	}
	retry.Flags().Bool("keep-time", false, "with the time of the original record; default: the present, as an old record may be too old to be kept")
	drop := &cobra.Command{
		Use: "drop CONSUMER POSITION...|--all", Short: "Mark dead letters as done without sending them back",
		Args: needs(1, -1, "a consumer, and positions or --all"), RunE: f.runDlqDrop,
	}
	for _, cmd := range []*cobra.Command{retry, drop} {
		cmd.Flags().Bool("all", false, "all that are listed")
	}
	dlq.AddCommand(list, show, retry, drop)
	return dlq
}

func (f *Flow) runDlqList(cmd *cobra.Command, args []string) (err error) {
	asJSON, _ := cmd.Flags().GetBool("json")
	s, err := f.session(cmd)
	if err != nil {
		return err
	}
	defer s.close()
	var of []*Processor
	for _, p := range f.processors {
		if len(p.with(buries)) > 0 {
			of = append(of, p)
		}
	}
	if len(args) == 1 {
		p, err := f.processorNamed(args[0])
		if err != nil {
			return err
		}
		of = []*Processor{p}
	}
	if len(of) == 0 {
		return usageError{errors.New("no consumer of the flow has dead letters: give one flow.DeadLetter(sink)")}
	}
	for _, p := range of {
		if err := s.list(p, asJSON); err != nil {
			return err
		}
	}
	return nil
}

// list prints the letters of one processor, and on stderr how many there are.
func (s *verbSession) list(p *Processor, asJSON bool) (err error) {
	d, err := s.openLetters(p)
	if err != nil {
		return err
	}
	defer closing(d.look, &err)
	tab := tabwriter.NewWriter(s.cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	n := 0
	err = d.each(func(l letter) error {
		n++
		if asJSON {
			return json.NewEncoder(s.cmd.OutOrStdout()).Encode(l.shown(p.name()))
		}
		_, err := fmt.Fprintf(tab, "%s\t%s\t%s\tattempt %s\t%s\n", at(&l.record), whereIs(l.origin, l.offset), l.time, l.attempt, firstLine(l.reason))
		if err == nil && n%1000 == 0 { // columns are as wide as a thousand need, and memory is bounded
			err = tab.Flush()
		}
		return err
	})
	if err = errors.Join(err, tab.Flush()); err != nil {
		return err
	}
	others := ""
	if d.others > 0 {
		others = fmt.Sprintf(", and %s of others", counted(d.others, "record"))
	}
	_, err = fmt.Fprintf(s.cmd.ErrOrStderr(), "%s of %s in %s%s\n", counted(n, "dead letter"), p.name(), d.sink.name, others)
	return err
}

// firstLine is the beginning of an error, for a line of a list.
func firstLine(s string) string {
	const most = 160
	line, _, more := strings.Cut(s, "\n")
	if r := []rune(line); len(r) > most {
		line, more = string(r[:most]), true
	}
	if more {
		line += " ..."
	}
	return line
}

// A shownLetter is the JSON form of a dead letter.
type shownLetter struct {
	Consumer string        `json:"consumer"`
	Position string        `json:"position"`
	Origin   string        `json:"origin"`
	Time     string        `json:"time,omitempty"`
	Attempt  string        `json:"attempt,omitempty"`
	Error    string        `json:"error"`
	Key      *string       `json:"key,omitempty"`
	KeyBytes []byte        `json:"key_base64,omitempty"`
	Value    *string       `json:"value,omitempty"`
	Bytes    []byte        `json:"value_base64,omitempty"`
	Headers  []shownHeader `json:"headers,omitempty"`
}

func (l *letter) shown(consumer string) shownLetter {
	r := shownOf(&l.record)
	return shownLetter{
		Consumer: consumer, Position: at(&l.record), Origin: whereIs(l.origin, l.offset), Time: l.time, Attempt: l.attempt, Error: l.reason,
		Key: r.Key, KeyBytes: r.KeyBase64, Value: r.Value, Bytes: r.ValueBase64, Headers: r.Headers,
	}
}

// chosen returns the letters at the positions, all of which must be there.
func (d *deadLetters) chosen(texts []string) ([]letter, error) {
	type want struct {
		text  string
		where primitives.Partition
		position
		found bool
	}
	var wanted []*want
	for _, text := range texts {
		pos, err := parsePosition(text)
		if err != nil {
			return nil, err
		}
		where, err := pos.in(d.spans)
		if err != nil {
			return nil, err
		}
		wanted = append(wanted, &want{text, where, pos, false})
	}
	var letters []letter
	err := d.each(func(l letter) error {
		hit := false
		for _, w := range wanted {
			if *l.record.Partition == w.where && l.record.Offset >= w.first && l.record.Offset <= w.last {
				w.found, hit = true, true
			}
		}
		if hit {
			letters = append(letters, l)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, w := range wanted {
		switch {
		case w.found:
		case d.done[w.where].has(w.first):
			return nil, usageError{fmt.Errorf("the dead letter at %s is done already", w.text)}
		default:
			return nil, usageError{fmt.Errorf("there is no dead letter of %q at %s: see dlq list", d.p.name(), w.text)}
		}
	}
	return letters, nil
}

func (f *Flow) runDlqShow(cmd *cobra.Command, args []string) (err error) {
	d, err := f.lettersOf(cmd, args[0])
	if err != nil {
		return err
	}
	defer d.end(&err)
	letters, err := d.chosen(args[1:])
	if err != nil {
		return err
	}
	w := cmd.OutOrStdout()
	for i, l := range letters {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "position  %s\norigin    %s\ntime      %s\nattempt   %s\nerror     %s\nkey       %s\n", at(&l.record),
			whereIs(l.origin, l.offset), cmp.Or(l.time, "-"), cmp.Or(l.attempt, "-"), indented(l.reason), readable(l.record.Key))
		for _, h := range l.record.Headers {
			fmt.Fprintf(w, "header    %s=%s\n", h.Name, readable(h.Value))
		}
		fmt.Fprintf(w, "value     %s\n", indented(string(l.record.Value)))
	}
	return nil
}

// indented puts further lines below the first; what is no text is quoted.
func indented(s string) string {
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		lines[i] = readable([]byte(l))
	}
	return strings.Join(lines, "\n          ")
}

// lettersOf opens the dead letters of the processor with that name. The caller
// ends them.
func (f *Flow) lettersOf(cmd *cobra.Command, name string) (*deadLetters, error) {
	s, err := f.session(cmd)
	if err != nil {
		return nil, err
	}
	p, err := f.processorNamed(name)
	var d *deadLetters
	if err == nil {
		d, err = s.openLetters(p)
	}
	if err != nil {
		s.close()
	}
	return d, err
}

// work calls do with the letters that the arguments choose, some at a time, and
// marks as done those that do returns.
func (d *deadLetters) work(verb string, args []string, do func([]letter) ([]letter, error)) (n int, err error) {
	all, _ := d.cmd.Flags().GetBool("all")
	if all == (len(args) > 0) {
		return 0, usageError{errors.New("name positions, as 3@812, or give --all: one of both")}
	}
	if err := d.prepare(); err != nil {
		return 0, err
	}
	flush := func(letters []letter) error {
		ok, failure := do(letters)
		if err := d.finish(verb, ok); err != nil {
			return errors.Join(failure, fmt.Errorf("%s sent back or dropped but not marked as done, and so still listed: %w", counted(len(ok), "dead letter"), err))
		}
		n += len(ok)
		return failure
	}
	if !all {
		letters, err := d.chosen(args)
		for err == nil && len(letters) > 0 {
			part := letters[:min(len(letters), lettersAtOnce)]
			letters = letters[len(part):]
			err = flush(part)
		}
		return n, err
	}
	var letters []letter
	err = d.each(func(l letter) error {
		letters = append(letters, l)
		if len(letters) < lettersAtOnce {
			return nil
		}
		part := letters
		letters = nil
		return flush(part)
	})
	if err == nil && len(letters) > 0 {
		err = flush(letters)
	}
	return n, err
}

// lettersAtOnce is how many letters are written before they are marked as done.
const lettersAtOnce = 256

func (f *Flow) runDlqDrop(cmd *cobra.Command, args []string) (err error) {
	d, err := f.lettersOf(cmd, args[0])
	if err != nil {
		return err
	}
	defer d.end(&err)
	n, err := d.work("drop", args[1:], func(letters []letter) ([]letter, error) { return letters, d.ctx.Err() })
	return d.tell(n, "dropped", err)
}

// tell says what was done, also when it was not all.
func (d *deadLetters) tell(n int, what string, err error) error {
	told := fmt.Sprintf("%s of %s %s", counted(n, "dead letter"), d.p.name(), what)
	if err != nil {
		if n > 0 {
			err = noted(err, told)
		}
		return err
	}
	_, err = fmt.Fprintln(d.cmd.OutOrStdout(), told)
	return err
}

func (f *Flow) runDlqRetry(cmd *cobra.Command, args []string) (err error) {
	keepTime, _ := cmd.Flags().GetBool("keep-time")
	d, err := f.lettersOf(cmd, args[0])
	if err != nil {
		return err
	}
	defer d.end(&err)
	back := &returns{deadLetters: d, keepTime: keepTime, writers: map[string]primitives.Writer{}}
	defer back.closeAll(&err)
	n, err := d.work("retry", args[1:], back.send)
	return d.tell(n, "sent back to "+d.p.source, err)
}

// returns sends letters back to where they were read.
type returns struct {
	*deadLetters
	keepTime bool
	writers  map[string]primitives.Writer // by topic
}

// writer opens the way back to a topic.
func (b *returns) writer(topic string) (primitives.Writer, error) {
	if w := b.writers[topic]; w != nil {
		return w, nil
	}
	source := b.p.with(reads)[0]
	var open func(context.Context, *primitives.Env) (primitives.Writer, error)
	switch v := source.value.(type) {
	case primitives.Returner:
		open = func(ctx context.Context, env *primitives.Env) (primitives.Writer, error) {
			return v.OpenReturn(ctx, env, topic)
		}
	case writable:
		open = v.OpenSink
	default:
		return nil, usageError{fmt.Errorf("%s can only be read: nothing can be sent back to it", source.name)}
	}
	w, err := opening(b.verbSession, b.p, open)
	if err == nil {
		b.writers[topic] = w
	}
	return w, err
}

// send returns the letters that are durable where they came from.
func (b *returns) send(letters []letter) (sent []letter, err error) {
	for len(letters) > 0 && err == nil {
		topic := letters[0].origin.Topic
		n := 1
		for n < len(letters) && letters[n].origin.Topic == topic { // in their order
			n++
		}
		part := letters[:n]
		letters = letters[n:]
		w, opened := b.writer(topic)
		if opened != nil {
			return sent, opened
		}
		records := make([]Raw, len(part))
		for i, l := range part {
			records[i] = Raw{Key: l.record.Key, Value: l.record.Value, Headers: l.record.Headers}
			if b.keepTime {
				records[i].Time, _ = time.Parse(time.RFC3339Nano, l.time)
			}
		}
		var failed map[int]error
		failed, err = b.write(b.ctx, w, records)
		for i, l := range part {
			if _, bad := failed[i]; !bad && (err == nil || failed != nil) {
				sent = append(sent, l)
			}
		}
	}
	return sent, err
}

func (b *returns) closeAll(err *error) {
	for _, w := range b.writers {
		closing(w, err)
	}
}
