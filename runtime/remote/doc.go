// Package remote has the commands that ask a running flow for something over its admin
// address: scale, pause, resume. Programs made with flow.Main have them, and so has the
// flow command. It reads no flow and starts none; what may be asked for, and what comes
// of it, is the running program's to say.
package remote
