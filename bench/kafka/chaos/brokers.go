package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// brokers are three nodes that the script starts, in a folder and at ports of their own.
type brokers struct {
	script, folder, addresses string
	env                       []string
}

func startBrokers(ctx context.Context, script string, port int) (*brokers, error) {
	script, err := filepath.Abs(script)
	if err != nil {
		return nil, err
	}
	folder, err := os.MkdirTemp("", "chaos")
	if err != nil {
		return nil, err
	}
	b := &brokers{script: script, folder: folder}
	b.env = append(os.Environ(), "LOCAL_KAFKA_DATA="+filepath.Join(folder, "nodes"), "LOCAL_KAFKA_PORT="+strconv.Itoa(port))
	if b.addresses, err = b.do(ctx, "start", "3"); err != nil {
		b.end()
		return nil, err
	}
	return b, nil
}

// do runs the script.
func (b *brokers) do(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, b.script, args...)
	cmd.Env = b.env
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", b.script, strings.Join(args, " "), err, errs.String())
	}
	return strings.TrimSpace(string(out)), nil
}

func (b *brokers) end() {
	if _, err := b.do(context.Background(), "wipe"); err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		return // the folder says which processes are left
	}
	_ = os.RemoveAll(b.folder)
}
