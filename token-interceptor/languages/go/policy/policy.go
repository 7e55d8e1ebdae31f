// Package policy holds the policy of gRPC methods, read from the m2m.auth.v1 annotations of .proto files.
//
// Both sides read it: the server layer enforces it, and the client layer requests exactly the audience and
// scopes of the called method. Generated code links its descriptors into the program, so there is no second
// list to keep.
package policy

import (
	"fmt"
	"slices"
	"strconv"
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
	// Identify means every caller. A token that comes is verified, so that the handler knows its caller.
	Identify
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
	// Claims are further claims of the token, each of which must have an allowed value.
	Claims []Claim
}

// Claim is a claim of the token and its allowed values.
type Claim struct {
	// Name is the claim's name. If it begins with "/", a JSON Pointer (RFC 6901) into the claims.
	Name string
	// Values are the allowed values. The claim is one of these strings, or a list that contains one.
	Values []string
}

// Allows returns true if the claim of the token with these claims has an allowed value.
func (c Claim) Allows(claims map[string]any) bool {
	isOne := func(value any) bool {
		text, ok := value.(string)
		return ok && slices.Contains(c.Values, text)
	}
	value := at(claims, c.Name)
	if items, ok := value.([]any); ok {
		return slices.ContainsFunc(items, isOne)
	}
	return isOne(value)
}

// at returns the claim of this name, or at this JSON Pointer. It is nil if there is none.
func at(claims map[string]any, name string) any {
	pointer, found := strings.CutPrefix(name, "/")
	if !found {
		return claims[name]
	}
	var value any = claims
	for token := range strings.SplitSeq(pointer, "/") {
		token = strings.ReplaceAll(strings.ReplaceAll(token, "~1", "/"), "~0", "~")
		switch parent := value.(type) {
		case map[string]any:
			value = parent[token]
		case []any:
			index, err := strconv.Atoi(token)
			if err != nil || strconv.Itoa(index) != token || index < 0 || index >= len(parent) {
				return nil
			}
			value = parent[index]
		default:
			return nil
		}
	}
	return value
}

// fault returns the fault of the claim, or "". Scopes and clients have fields of their own, which know the
// limits of each issuer.
func (c Claim) fault() string {
	name, isPointer := strings.CutPrefix(c.Name, "/")
	first := name
	if isPointer {
		first, _, _ = strings.Cut(name, "/")
	}
	switch {
	case len(c.Values) == 0:
		return fmt.Sprintf("the claim %q has no allowed values, so no token could meet it", c.Name)
	case name == "":
		return fmt.Sprintf("%q is not the name of a claim", c.Name)
	case first == "scope" || first == "scp":
		return fmt.Sprintf("%q: use all_scopes or any_scopes", c.Name)
	case first == "client_id" || first == "azp" || first == "cid" || first == "appid":
		return fmt.Sprintf("%q: use callers", c.Name)
	case isPointer && strings.Contains(strings.NewReplacer("~0", "", "~1", "").Replace(name), "~"):
		return fmt.Sprintf("%q is not a JSON Pointer (RFC 6901): write ~ as ~0", c.Name)
	}
	return ""
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
	for _, claim := range r.Claims {
		if fault := claim.fault(); fault != "" {
			return fmt.Errorf("%s: %s", owner, fault)
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
