// Package source obtains access tokens: from any OAuth issuer over HTTP, from a file, by exchange on behalf
// of a caller. Package tokens adds this project's issuer over gRPC. It needs no gRPC library.
package source

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"
)

// LifetimeDefault is the assumed lifetime of a token whose issuer states none.
const LifetimeDefault = time.Minute

// Source obtains access tokens. It must be safe for concurrent use.
type Source interface {
	// Fetch obtains one token. It need not retry. The error is an *Error, or reads as an outage.
	Fetch(ctx context.Context, request Request) (Issued, error)
}

// Request is a request for a token. Equal requests share one token.
type Request struct {
	// Audience is the resource server that the token is for (RFC 8707). Empty: the issuer's default.
	Audience string
	// Scopes are the requested scopes. Empty: the issuer's default.
	Scopes []string
	// MaxAge replaces the token before it is older than this. Zero: no limit.
	MaxAge time.Duration
	// Subject is the token of the caller on whose behalf another is requested (RFC 8693). It is a secret.
	Subject Secret
}

// Secret is a text that is never printed.
type Secret string

// Format hides the text from package fmt.
func (Secret) Format(state fmt.State, _ rune) { _, _ = state.Write([]byte("[redacted]")) }

// LogValue hides the text from log/slog.
func (Secret) LogValue() slog.Value { return slog.StringValue("[redacted]") }

// MarshalText hides the text from encoders such as encoding/json.
func (Secret) MarshalText() ([]byte, error) { return []byte("[redacted]"), nil }

// Normal returns the request with its scopes sorted, and each once.
func (r Request) Normal() Request {
	r.Scopes = slices.Clone(r.Scopes)
	slices.Sort(r.Scopes)
	r.Scopes = slices.Compact(r.Scopes)
	return r
}

// Key returns a text that equal normal requests share. It holds the subject token.
func (r Request) Key() string {
	return strings.Join([]string{r.Audience, strings.Join(r.Scopes, " "), r.MaxAge.String(), string(r.Subject)}, "\x00")
}

// String describes the request, for errors and logs.
func (r Request) String() string {
	text := "the default audience"
	if r.Audience != "" {
		text = fmt.Sprintf("audience %q", r.Audience)
	}
	if len(r.Scopes) == 0 {
		text += ", default scopes"
	} else {
		text += fmt.Sprintf(", scopes %q", strings.Join(r.Scopes, " "))
	}
	if r.Subject != "" {
		text += ", on behalf of a caller"
	}
	return text
}

// Own rejects requests on behalf of a caller, for sources that cannot exchange tokens. Their own token would
// give a caller this program's rights.
func (r Request) Own() error {
	if r.Subject != "" {
		return Refuse(RefusedRequest, errors.New("this source exchanges no tokens"))
	}
	return nil
}

// Issued is a token from its source.
type Issued struct {
	// Token is the access token.
	Token Secret
	// ExpiresIn is the lifetime, counted from the request.
	ExpiresIn time.Duration
	// RefreshAfter is the issuer's time of renewal, counted from the request. Zero: well before it expires.
	RefreshAfter time.Duration
}

// CheckBearer returns an error unless text is a bearer token of RFC 6750 section 2.1. Another text could be
// cut on the way, or smuggle in a second header. The error does not quote it.
func CheckBearer(text string) error {
	body := strings.TrimRight(text, "=")
	odd := strings.ContainsFunc(body, func(r rune) bool {
		letter := (r >= 'a' && r <= 'z') || (r >= 'A' && r <= 'Z') || (r >= '0' && r <= '9')
		return !letter && !strings.ContainsRune("-._~+/", r)
	})
	if body == "" || odd {
		return errors.New("not an access token: RFC 6750 allows letters, digits and -._~+/ with = at the end")
	}
	return nil
}

// Static is a source of one token that does not change, for tests and scripts.
type Static Secret

// Fetch returns the token.
func (s Static) Fetch(_ context.Context, request Request) (Issued, error) {
	if err := request.Own(); err != nil {
		return Issued{}, err
	}
	if err := CheckBearer(string(s)); err != nil {
		return Issued{}, Refuse(RefusedToken, err)
	}
	return Issued{Token: Secret(s), ExpiresIn: time.Hour}, nil
}

// Format hides the token from package fmt.
func (Static) Format(state fmt.State, _ rune) { _, _ = state.Write([]byte("source.Static")) }
