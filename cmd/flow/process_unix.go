//go:build unix

package main

import (
	"os"
	"os/exec"
	"strconv"
	"syscall"
)

// group puts the command into a process group of its own, so that a Ctrl-C in the
// terminal reaches this process only, which passes it on.
func group(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
}

func killGroup(cmd *exec.Cmd) error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }

// interrupt asks the program to drain, and with hurry, after that, to stop. These
// are different signals: the kernel makes one of two that are the same.
func interrupt(cmd *exec.Cmd, hurry bool) error {
	if hurry {
		return cmd.Process.Signal(os.Interrupt)
	}
	return cmd.Process.Signal(syscall.SIGTERM)
}

// handOver lets the command write to file, and returns the number that it knows it by.
func handOver(cmd *exec.Cmd, file *os.File) (string, error) {
	cmd.ExtraFiles = append(cmd.ExtraFiles, file)
	return strconv.Itoa(2 + len(cmd.ExtraFiles)), nil
}
