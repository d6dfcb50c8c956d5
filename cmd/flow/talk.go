package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	goruntime "runtime"
	"strings"
	"sync"
	"time"

	"github.com/mattn/go-isatty"
)

// talk is what flow run tells its user, line by line: for people, or as JSON like
// the program's own log. It may be used from any goroutine.
type talk struct {
	mu     sync.Mutex
	w      io.Writer
	json   *slog.Logger // nil for people
	colour bool
}

func newTalk(w io.Writer, asJSON bool) *talk {
	t := &talk{w: w}
	if asJSON {
		t.json = slog.New(slog.NewJSONHandler(w, nil))
		return t
	}
	t.colour = isTerminal(w) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && goruntime.GOOS != "windows"
	return t
}

// isTerminal reports whether somebody may be looking at w.
func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}

// say tells of an event.
func (t *talk) say(format string, args ...any) { t.event(slog.LevelInfo, fmt.Sprintf(format, args...)) }

// warn tells of something that is wrong. Its first line has the time, further ones
// are indented below it.
func (t *talk) warn(format string, args ...any) {
	t.event(slog.LevelError, fmt.Sprintf(format, args...))
}

func (t *talk) event(level slog.Level, text string) {
	if t.json != nil {
		t.json.Log(context.Background(), level, text)
		return
	}
	now := time.Now().Format(time.TimeOnly)
	text = strings.ReplaceAll(text, "\n", "\n"+strings.Repeat(" ", len(now)+1))
	if t.colour && level >= slog.LevelError {
		text = "\x1b[31m" + text + "\x1b[0m"
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintf(t.w, "%s %s\n", now, text)
}

// block prints text as it is, or the event with attrs as JSON.
func (t *talk) block(text, event string, attrs ...any) {
	if t.json != nil {
		t.json.Info(event, attrs...)
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	_, _ = io.WriteString(t.w, text)
}

// bold marks text where that can be seen.
func (t *talk) bold(s string) string {
	if !t.colour {
		return s
	}
	return "\x1b[1m" + s + "\x1b[0m"
}

// seconds writes a duration as the tool does everywhere, "0.7s".
func seconds(d time.Duration) string {
	if d < 100*time.Millisecond {
		return fmt.Sprintf("%.2fs", d.Seconds())
	}
	return fmt.Sprintf("%.1fs", d.Seconds())
}
