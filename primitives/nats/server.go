package nats

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/flowkit-go/flow/primitives"
)

// listenVar asks the embedded server for a port, as "127.0.0.1:4222", so that
// other processes can use the same queue. There is no login: keep it local.
const listenVar = "FLOW_NATS_LISTEN"

// maxPayload of the embedded server, in bytes: eight times the default of NATS,
// the most that its makers advise.
const maxPayload = 8 << 20

// startTimeout bounds the recovery of a store at the start of the server.
const startTimeout = 5 * time.Minute

// embedded is a server inside of this process, and the lock on its folder.
type embedded struct {
	*server.Server
	dir     string
	sync    Sync
	lock    *os.File
	alone   bool // no other process can connect
	crashed bool // the last process that had the folder was killed

	mu      sync.Mutex
	claimed map[string]bool // consumers that were opened
}

// shareServer returns the flow's server for a folder, started if need be.
func shareServer(c *config, env *primitives.Env) (*embedded, func() error, error) {
	dir := c.dir
	if !filepath.IsAbs(dir) {
		if env.DataDir != "" {
			dir = filepath.Join(env.DataDir, dir)
		} else {
			dir = primitives.DataPath(dir)
		}
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, nil, fmt.Errorf("nats: folder of the embedded queue: %w", err)
	}
	srv, release, err := primitives.Share(env.Shared, "nats:server:"+dir, func() (*embedded, error) {
		return startServer(dir, c.sync, os.Getenv(listenVar), env.Logger)
	})
	if err != nil {
		return nil, nil, err
	}
	if srv.sync != c.sync {
		return nil, nil, errors.Join(
			fmt.Errorf("nats: streams of the folder %s ask for different Sync: set the same on all of them, or another Dir", dir),
			release())
	}
	return srv, release, nil
}

func startServer(dir string, sync Sync, listen string, log *slog.Logger) (*embedded, error) {
	opts := &server.Options{
		ServerName:   "flow",
		DontListen:   true,
		NoSigs:       true,
		JetStream:    true,
		StoreDir:     dir,
		MaxPayload:   maxPayload,
		SyncInterval: time.Second,
		SyncAlways:   sync == SyncAlways,
	}
	if listen != "" {
		host, port, err := net.SplitHostPort(listen)
		if err == nil {
			opts.Port, err = strconv.Atoi(port)
		}
		if err != nil {
			return nil, fmt.Errorf("nats: %s=%q: give an address and a port, as 127.0.0.1:4222", listenVar, listen)
		}
		if opts.Port == 0 {
			opts.Port = server.RANDOM_PORT
		}
		opts.DontListen, opts.Host = false, host
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("nats: folder of the embedded queue: %w", err)
	}
	lock, crashed, err := lockFolder(dir)
	if err != nil {
		return nil, err
	}
	srv, err := server.NewServer(opts)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("nats: embedded server in %s: %w", dir, err), lock.Close())
	}
	e := &embedded{Server: srv, dir: dir, sync: sync, lock: lock, alone: opts.DontListen, crashed: crashed, claimed: map[string]bool{}}
	lines := &serverLog{log: log}
	srv.SetLoggerV2(lines, false, false, false)
	srv.Start()
	ready := srv.ReadyForConnections(startTimeout)
	if failure := lines.failure(); failure != "" || !ready || !srv.JetStreamEnabled() {
		if failure == "" {
			failure = fmt.Sprintf("it was not ready in %v", startTimeout)
		}
		return nil, errors.Join(fmt.Errorf("nats: embedded server in %s: %s", dir, failure), e.Close())
	}
	if listen != "" {
		log.Info("embedded queue listens", "url", srv.ClientURL())
	}
	return e, nil
}

// Close stops the server, which flushes its files, and then gives up the folder.
func (e *embedded) Close() error {
	e.Shutdown()
	e.WaitForShutdown()
	return errors.Join(e.lock.Truncate(0), e.lock.Close())
}

// lockFolder takes the folder for this process until the file is closed or the
// process ends, however it ends. The file holds the id of the process while the
// folder is in use; one that was killed leaves it there.
func lockFolder(dir string) (lock *os.File, crashed bool, err error) {
	path := filepath.Join(dir, "lock")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, false, fmt.Errorf("nats: folder of the embedded queue: %w", err)
	}
	taken, err := lockFile(f)
	if err != nil {
		return nil, false, errors.Join(fmt.Errorf("nats: lock %s: %w", path, err), f.Close())
	}
	var content [20]byte
	n, err := f.ReadAt(content[:], 0)
	if err != nil && err != io.EOF {
		return nil, false, errors.Join(fmt.Errorf("nats: read %s: %w", path, err), f.Close())
	}
	pid := strings.TrimSpace(string(content[:n]))
	if taken {
		who := "another process"
		if pid != "" {
			who = "process " + pid
		}
		return nil, false, errors.Join(fmt.Errorf("nats: the queue in %s is in use by %s: stop that one, choose another folder with FLOW_DATA, "+
			"or share its queue: start it with %s=127.0.0.1:4222 and this one with %s=nats://127.0.0.1:4222", dir, who, listenVar, urlVar), f.Close())
	}
	// Written before it is cut, so that the file is never empty: a process that is
	// killed here hides no crash before it.
	mine := strconv.Itoa(os.Getpid()) + "\n"
	if _, err = f.WriteAt([]byte(mine), 0); err == nil {
		err = f.Truncate(int64(len(mine)))
	}
	if err != nil {
		return nil, false, errors.Join(fmt.Errorf("nats: write %s: %w", path, err), f.Close())
	}
	return f, pid != "", nil
}

// serverLog passes the server's lines on. It writes at fatal and goes on, where
// a standalone server would exit.
type serverLog struct {
	log   *slog.Logger
	mu    sync.Mutex
	fatal string
}

var _ server.Logger = (*serverLog)(nil)

func (l *serverLog) line(level slog.Level, format string, v []any) {
	if l.log.Enabled(context.Background(), level) {
		l.log.Log(context.Background(), level, "nats server: "+fmt.Sprintf(format, v...))
	}
}

func (l *serverLog) Noticef(format string, v ...any) { l.line(slog.LevelDebug, format, v) }
func (l *serverLog) Debugf(format string, v ...any)  { l.line(slog.LevelDebug, format, v) }
func (l *serverLog) Tracef(format string, v ...any)  { l.line(slog.LevelDebug, format, v) }
func (l *serverLog) Warnf(format string, v ...any)   { l.line(slog.LevelWarn, format, v) }
func (l *serverLog) Errorf(format string, v ...any)  { l.line(slog.LevelError, format, v) }

func (l *serverLog) Fatalf(format string, v ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fatal == "" {
		l.fatal = fmt.Sprintf(format, v...)
	}
}

func (l *serverLog) failure() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fatal
}
