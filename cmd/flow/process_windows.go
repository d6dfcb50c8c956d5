package main

import (
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"golang.org/x/sys/windows"
)

// group puts the command into a process group of its own, so that a Ctrl-C in the
// console reaches this process only, which passes it on.
func group(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.CreationFlags |= windows.CREATE_NEW_PROCESS_GROUP
}

func killGroup(cmd *exec.Cmd) error { return cmd.Process.Kill() }

// interrupt asks the program to drain, and with hurry, after that, to stop. A Go
// program receives a Ctrl-Break as os.Interrupt, and counts them.
func interrupt(cmd *exec.Cmd, _ bool) error {
	return windows.GenerateConsoleCtrlEvent(windows.CTRL_BREAK_EVENT, uint32(cmd.Process.Pid))
}

// handOver lets the command write to file, and returns the number that it knows it by.
func handOver(cmd *exec.Cmd, file *os.File) (string, error) {
	h := syscall.Handle(file.Fd())
	if err := syscall.SetHandleInformation(h, syscall.HANDLE_FLAG_INHERIT, syscall.HANDLE_FLAG_INHERIT); err != nil {
		return "", err
	}
	cmd.SysProcAttr.AdditionalInheritedHandles = append(cmd.SysProcAttr.AdditionalInheritedHandles, h)
	return strconv.FormatUint(uint64(h), 10), nil
}
