package runtime

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"time"
)

// heartbeatEvery is the time between two touches of the heartbeat file.
const heartbeatEvery = time.Second

// heartbeat touches the heartbeat file while the flow is ready, or drains, so that
// what looks at the file's time sees one that is stuck. The function returned ends it.
func (e *Engine) heartbeat() (stop func()) {
	if e.cfg.Heartbeat == "" {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		ticker := time.NewTicker(heartbeatEvery)
		defer ticker.Stop()
		failed := false
		for {
			if err := e.ready(ctx); err == nil || e.state.Load() == stateDraining {
				err := touch(e.cfg.Heartbeat)
				if err != nil && !failed {
					e.log.Error("heartbeat file cannot be touched", "file", e.cfg.Heartbeat, "error", err)
				}
				failed = err != nil
			}
			select {
			case <-ticker.C:
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() {
		cancel()
		select {
		case <-ended:
		case <-time.After(stopTime):
			e.log.Error("the heartbeat did not end: the health check takes no notice of its cancelled context")
		}
	}
}

// touch sets a file's time to now, and makes it when it is not there.
func touch(file string) error {
	now := time.Now()
	err := os.Chtimes(file, now, now)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	return f.Close()
}
