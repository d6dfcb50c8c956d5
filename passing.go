package flow

import (
	"net/http"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/runtime/web"
)

// passing reports whether an encoder's or decoder's error is no fault of the value:
// what it needs cannot be reached now.
func passing(err error) bool {
	_, again := primitives.RetryDelay(err)
	return again
}

// notEncoded is what a collector answers when its output could not be encoded.
func notEncoded(err error) error {
	if !passing(err) {
		return err
	}
	return &web.Error{Status: http.StatusServiceUnavailable, Detail: "what was sent could not be stored, try again later", Err: err}
}

// lasting is err without one that passes, which says nothing about the record.
func lasting(err error) error {
	if passing(err) {
		return nil
	}
	return err
}
