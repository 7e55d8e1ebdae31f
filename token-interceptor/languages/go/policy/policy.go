// Package policy holds the policy of gRPC methods, read from the m2m.auth.v1 annotations of .proto files.
//
// Both sides read it: the server layer enforces it, and the client layer requests exactly the audience and
// scopes of the called method. Generated code links its descriptors into the program, so there is no second
// list to keep.
package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Access is the set of callers that may use a method.
type Access int

const (
	// Undeclared means that neither the method nor its service declares a policy. Every call is denied.
	Undeclared Access = iota
	// Public means every caller, without a token.
	Public
	// Token means callers with a token that meets the requirement.
	Token
)

// Method is one method and its demand.
type Method struct {
	// Path is the path of its requests: /package.Service/Method.
	Path string
	// Audience is the `aud` that a token must carry, and that clients request.
	Audience string
	// Access says if a token is needed.
	Access Access
	// Requirement is the demand on the token. It counts for Token alone.
	Requirement Requirement
	// ClientStreaming and ServerStreaming tell the sides that send a stream.
	ClientStreaming, ServerStreaming bool
}

// Unary returns true if each side sends one message.
func (m Method) Unary() bool { return !m.ClientStreaming && !m.ServerStreaming }

// Requirement is the demand on a verified token. The zero value demands a valid token and nothing more.
type Requirement struct {
	// AllScopes must all have been granted.
	AllScopes []string
	// AnyScopes are alternatives: one of them must have been granted, if there are any.
	AnyScopes []string
	// Callers are client IDs, or prefixes and one final "*". Empty: any client.
	Callers []string
	// MaxTokenAge is the age from which a token is rejected. Zero if there is none: see HasMaxTokenAge.
	MaxTokenAge time.Duration
	// HasMaxTokenAge is true if there is a maximum age.
	HasMaxTokenAge bool
	// StreamOutlivesToken is true if an open stream goes on when its token expires.
	StreamOutlivesToken bool
}

// RequestedScopes returns the scopes that a client requests for the method, sorted: all that are demanded.
// Of alternatives it is the first, unless one of them is demanded anyway.
func (r Requirement) RequestedScopes() []string {
	scopes := slices.Clone(r.AllScopes)
	if len(r.AnyScopes) > 0 && !slices.ContainsFunc(r.AnyScopes, func(any string) bool {
		return slices.Contains(r.AllScopes, any)
	}) {
		scopes = append(scopes, r.AnyScopes[0])
	}
	slices.Sort(scopes)
	return slices.Compact(scopes)
}

// Missing returns the demanded scopes that were not granted.
func (r Requirement) Missing(granted func(scope string) bool) []string {
	var missing []string
	for _, scope := range r.AllScopes {
		if !granted(scope) {
			missing = append(missing, scope)
		}
	}
	if len(r.AnyScopes) > 0 && !slices.ContainsFunc(r.AnyScopes, granted) {
		missing = append(missing, r.AnyScopes...)
	}
	return missing
}

// Matches returns true if name is the pattern, or begins with it up to a final "*".
func Matches(pattern, name string) bool {
	if prefix, found := strings.CutSuffix(pattern, "*"); found {
		return strings.HasPrefix(name, prefix)
	}
	return pattern == name
}

func (r Requirement) check(owner string) error {
	for _, scope := range slices.Concat(r.AllScopes, r.AnyScopes) {
		if !isScope(scope) {
			return fmt.Errorf("%s: %q is not a scope (RFC 6749 section 3.3)", owner, scope)
		}
	}
	for _, caller := range r.Callers {
		if caller == "" || strings.Contains(strings.TrimSuffix(caller, "*"), "*") {
			return fmt.Errorf(`%s: caller %q must be a client ID, or a prefix and one final "*"`, owner, caller)
		}
	}
	return nil
}

// isScope checks the scope-token of RFC 6749 section 3.3.
func isScope(scope string) bool {
	return scope != "" && !strings.ContainsFunc(scope, func(r rune) bool {
		return r < 0x21 || r > 0x7e || r == '"' || r == '\\'
	})
}
