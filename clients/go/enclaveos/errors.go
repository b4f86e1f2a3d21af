package enclaveos

import (
	"errors"
	"fmt"

	"enclaveos/client-go/verify"
)

// ErrNoPolicy says that nothing was given to verify the enclave with.
var ErrNoPolicy = errors.New("no policy was given, so the enclave cannot be verified: set Config.Policy")

// VerificationError says that the enclave is not what the policy demands. Nothing was sent to it.
type VerificationError struct {
	// Verdict lists every check.
	Verdict *verify.Verdict
	// Cause is why evidence is missing, if the server said so.
	Cause error
}

func (e *VerificationError) Error() string {
	text := "the enclave was not verified: " + e.Verdict.Explain()
	if e.Cause != nil {
		text += " (" + e.Cause.Error() + ")"
	}
	return text
}

// Unwrap is the cause.
func (e *VerificationError) Unwrap() error { return e.Cause }

// RefusedError is the server's refusal: it understood and said no.
type RefusedError struct {
	// Code is a stable word for programs.
	Code string
	// Message says what was wrong and how to mend it.
	Message string
}

func (e *RefusedError) Error() string { return e.Message + " [" + e.Code + "]" }

// AppError is the error an app's function returned: the `err` side of its WIT result.
type AppError struct {
	// Function that returned it.
	Function string
	// Value is what it carries; nil if nothing.
	Value any
}

func (e *AppError) Error() string {
	return fmt.Sprintf("%s returned an error: %v", e.Function, e.Value)
}

// ConnectionError says that there is no working connection.
type ConnectionError struct {
	// Op is what was tried: `connect`, `handshake`, `send`, `receive`.
	Op string
	// Address of the server.
	Address string
	Err     error
}

func (e *ConnectionError) Error() string {
	return fmt.Sprintf("%s %s: %v", e.Op, e.Address, e.Err)
}

// Unwrap is the reason.
func (e *ConnectionError) Unwrap() error { return e.Err }

// ProtocolError says that the server's answer is not one of this protocol.
type ProtocolError struct{ Reason string }

func (e *ProtocolError) Error() string {
	return "the server's answer is not one of this protocol: " + e.Reason
}
