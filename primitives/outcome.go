package primitives

import (
	"errors"
	"time"
)

// ErrSkip, returned by a handler, resolves the record without output.
var ErrSkip = errors.New("skip this record")

// Permanent marks err as one that trying again cannot mend: the record goes to
// the dead letters, or to the processor's failure policy, without further
// attempts. Permanent(nil) is nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &permanentError{err}
}

// IsPermanent reports whether err, or an error that it wraps, was marked with
// Permanent or says that a record cannot be decoded or encoded.
func IsPermanent(err error) bool {
	var p interface{ Permanent() bool }
	return errors.As(err, &p) && p.Permanent()
}

type permanentError struct{ err error }

func (e *permanentError) Error() string   { return e.err.Error() }
func (e *permanentError) Unwrap() error   { return e.err }
func (e *permanentError) Permanent() bool { return true }

// RetryAfter marks err as one to try again after d, in place of the delay that
// the processor's backoff would choose. It counts as an attempt. A negative d
// counts as zero. RetryAfter(d, nil) is an error all the same.
func RetryAfter(d time.Duration, err error) error {
	if err == nil {
		err = errors.New("retry requested")
	}
	return &retryAfterError{max(d, 0), err}
}

// RetryDelay returns the delay that err asks for by RetryAfter, if it does.
func RetryDelay(err error) (time.Duration, bool) {
	var r *retryAfterError
	if errors.As(err, &r) {
		return r.delay, true
	}
	return 0, false
}

type retryAfterError struct {
	delay time.Duration
	err   error
}

func (e *retryAfterError) Error() string { return e.err.Error() }
func (e *retryAfterError) Unwrap() error { return e.err }
