package main

import (
	"os/exec"
	"syscall"
)

// dieWithParent makes the kernel kill the command when the thread that starts it
// ends, as it does when this process is killed. The caller locks that thread.
func dieWithParent(cmd *exec.Cmd) { cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL }
