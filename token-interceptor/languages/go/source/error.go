package source

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"m2m.example/go/internal/destination"
)

// Refusal is the kind of an issuer's refusal. RFC 6749 section 5.2, RFC 8707 section 2.
type Refusal int

// The kinds of refusal. NotRefused means that the source could not answer, which passes by itself.
const (
	NotRefused                  Refusal = iota
	RefusedClientAuthentication         // invalid_client
	RefusedClient                       // unauthorized_client
	RefusedScope                        // invalid_scope
	RefusedTarget                       // invalid_target
	RefusedGrant                        // invalid_grant
	RefusedToken                        // the configured token is not a valid token
	RefusedRequest                      // invalid_request and all others
)

// RefusalOf returns the kind of an OAuth error code.
func RefusalOf(code string) Refusal {
	switch code {
	case "invalid_client":
		return RefusedClientAuthentication
	case "unauthorized_client", "access_denied":
		return RefusedClient
	case "invalid_scope":
		return RefusedScope
	case "invalid_target":
		return RefusedTarget
	case "invalid_grant":
		return RefusedGrant
	default:
		return RefusedRequest
	}
}

// Error is the error of a source. Either it could not answer: this passes by itself. Or it refused: this
// lasts until an operator changes something.
type Error struct {
	// Refusal is NotRefused for an outage.
	Refusal Refusal
	// Cause is the class of an outage: see the constants.
	Cause string
	// RetryAfter is the pause that the source demands. Zero if there is none.
	RetryAfter time.Duration
	// Err is the source's own error, for the log.
	Err error
}

// The classes of an outage: the first thing for an operator to check.
const (
	CauseUntrustedCA        = "untrusted_ca"
	CauseCertificateInvalid = "certificate_invalid"
	CauseNameNotResolved    = "name_not_resolved"
	CauseConnectionRefused  = "connection_refused"
	CauseUnreachable        = "unreachable"
	CauseConnectionLost     = "connection_lost"
	CauseTimedOut           = "timed_out"
	CausePlaintextRefused   = "plaintext_refused"
	CauseExpiredOnArrival   = "expired_on_arrival"
	CauseAnswer             = "answer"
)

func (e *Error) Error() string {
	if e.Refusal != NotRefused {
		return "the issuer refused: " + e.Err.Error()
	}
	return "no token can be obtained right now (" + e.Cause + "): " + e.Err.Error()
}

// Unwrap returns the source's own error.
func (e *Error) Unwrap() error { return e.Err }

// Refuse returns the error of a source that refused.
func Refuse(refusal Refusal, err error) *Error {
	return &Error{Refusal: refusal, Cause: CauseAnswer, Err: err}
}

// Unavailable returns the error of a source that could not be reached or could not answer.
func Unavailable(err error) *Error { return &Error{Cause: causeOf(err), Err: err} }

// ErrorOf returns err as an *Error. Any other error reads as an outage.
func ErrorOf(err error) *Error {
	if known := (*Error)(nil); errors.As(err, &known) {
		return known
	}
	return Unavailable(err)
}

func causeOf(err error) string {
	var (
		unknown  x509.UnknownAuthorityError
		hostname x509.HostnameError
		invalid  x509.CertificateInvalidError
		verify   *tls.CertificateVerificationError
		dns      *net.DNSError
		timeout  net.Error
	)
	switch {
	case errors.Is(err, destination.ErrPlaintext):
		return CausePlaintextRefused
	case errors.As(err, &unknown):
		return CauseUntrustedCA
	case errors.As(err, &hostname), errors.As(err, &invalid), errors.As(err, &verify):
		return CauseCertificateInvalid
	case errors.As(err, &dns) && !dns.IsTimeout:
		return CauseNameNotResolved
	case errors.Is(err, syscall.ECONNREFUSED):
		return CauseConnectionRefused
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return CauseUnreachable
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.ErrUnexpectedEOF):
		return CauseConnectionLost
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return CauseTimedOut
	default:
		return causeOfText(err)
	}
}

// causeOfText reads the text of an error of grpc-go, which does not wrap its causes.
func causeOfText(err error) string {
	if err == nil {
		return CauseAnswer
	}
	for _, known := range []struct{ text, cause string }{
		{"certificate signed by unknown authority", CauseUntrustedCA},
		{"failed to verify certificate", CauseCertificateInvalid},
		{"no such host", CauseNameNotResolved},
		{"connection refused", CauseConnectionRefused},
		{"no route to host", CauseUnreachable},
		{"network is unreachable", CauseUnreachable},
		{"connection reset", CauseConnectionLost},
		{"error reading from server", CauseConnectionLost},
		{"i/o timeout", CauseTimedOut},
		{"deadline exceeded", CauseTimedOut},
	} {
		if strings.Contains(err.Error(), known.text) {
			return known.cause
		}
	}
	return CauseAnswer
}

// SentenceOf returns a sentence that names the class of an outage.
func SentenceOf(cause string) string {
	switch cause {
	case CauseUntrustedCA:
		return "the issuer's certificate comes from a CA that is not trusted here (untrusted_ca)"
	case CauseCertificateInvalid:
		return "the issuer's certificate is not valid for it (certificate_invalid)"
	case CauseNameNotResolved:
		return "the issuer's name does not resolve (name_not_resolved)"
	case CauseConnectionRefused:
		return "nothing listens at the issuer's address (connection_refused)"
	case CauseUnreachable:
		return "no route leads to the issuer (unreachable)"
	case CauseConnectionLost:
		return "the connection to the issuer broke off (connection_lost)"
	case CauseTimedOut:
		return "the issuer did not answer in time (timed_out)"
	case CausePlaintextRefused:
		return "the issuer's URL is plaintext to another machine (plaintext_refused)"
	case CauseExpiredOnArrival:
		return "the token had expired when it arrived (expired_on_arrival)"
	default:
		return "the issuer answered, and not with a token (answer)"
	}
}
