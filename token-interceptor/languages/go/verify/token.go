package verify

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"m2m.example/go/internal/strict"
)

// numericDateMax is the last second of the year 9999, as in google.protobuf.Timestamp.
const numericDateMax = 253_402_300_799

// Token is a verified token: signature, issuer, audience, times and revocation were checked. RFC 9068.
//
// It is immutable. Printing it shows issuer, client and token ID alone, as claims may be personal.
type Token struct {
	issuer          string
	subject         string
	clientID        string
	tokenID         string
	audiences       []string
	scopes          []string
	expires, issued uint64
	notBefore       uint64 // 0 if there is none
	actors          []Actor
	ancestors       []ancestor
	claims          map[string]any
	// clientIDIsUnique is true if no other trusted issuer may have a client of the same ID.
	clientIDIsUnique bool
}

// Actor is a party that acts for the subject. RFC 8693 section 4.1.
type Actor struct {
	// Subject is its `sub`.
	Subject string
	// ClientID is its `client_id`, if the issuer states it.
	ClientID string
	// Issuer is its `iss`, if it comes from another issuer.
	Issuer string
}

// ancestor is a token that another token was derived from by token exchange.
type ancestor struct {
	tokenID, clientID string
	issued            uint64
}

// Issuer returns `iss`, exactly as configured.
func (t *Token) Issuer() string { return t.issuer }

// Subject returns `sub`: the user whom the client acts for, or the client itself.
func (t *Token) Subject() string { return t.subject }

// ClientID returns `client_id`: the client that the token was issued to.
func (t *Token) ClientID() string { return t.clientID }

// TokenID returns `jti`, which is fit for logs.
func (t *Token) TokenID() string { return t.tokenID }

// Audiences returns `aud`.
func (t *Token) Audiences() []string { return slices.Clone(t.audiences) }

// Scopes returns `scope`, in the token's order.
func (t *Token) Scopes() []string { return slices.Clone(t.scopes) }

// HasScope returns true if scope was granted.
func (t *Token) HasScope(scope string) bool { return slices.Contains(t.scopes, scope) }

// ExpiresAt returns `exp`.
func (t *Token) ExpiresAt() time.Time { return time.Unix(int64(t.expires), 0) }

// IssuedAt returns `iat`.
func (t *Token) IssuedAt() time.Time { return time.Unix(int64(t.issued), 0) }

// Actors returns the `act` chain, the current actor first. Only the first may decide about access.
func (t *Token) Actors() []Actor { return slices.Clone(t.actors) }

// Claims returns every claim. Numbers are of type json.Number. Do not change nested values.
func (t *Token) Claims() map[string]any { return maps.Clone(t.claims) }

// ClaimsAs reads the claims into a type of the program's own, as json.Unmarshal does.
func (t *Token) ClaimsAs(into any) error {
	text, err := json.Marshal(t.claims)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}

// String names the token without its content.
func (t *Token) String() string {
	return fmt.Sprintf("Token(issuer %q, client %q, jti %q)", t.issuer, t.clientID, t.tokenID)
}

// Format hides the content from every verb of package fmt.
func (t *Token) Format(state fmt.State, _ rune) { _, _ = state.Write([]byte(t.String())) }

// LogValue hides the content from log/slog.
func (t *Token) LogValue() slog.Value { return slog.StringValue(t.String()) }

// tokenOf checks every claim that has a meaning here, and its type. RFC 9068 section 2.2, RFC 7519 section
// 4.1. Times are whole, non-negative numbers, as two parsers may round a fraction differently.
func tokenOf(claims map[string]any) (*Token, error) {
	found := &Token{claims: claims}
	var err error
	for name, into := range map[string]*string{
		"iss": &found.issuer, "sub": &found.subject, "client_id": &found.clientID, "jti": &found.tokenID,
	} {
		if *into, err = claimText(claims, name); err != nil {
			return nil, err
		}
	}
	if found.audiences, err = audiences(claims); err != nil {
		return nil, err
	}
	if scope, there := claims["scope"]; there {
		text, ok := scope.(string)
		if !ok {
			return nil, malformed.about("scope", strict.Kind(scope), "a string")
		}
		found.scopes = slices.DeleteFunc(strings.Split(text, " "), func(scope string) bool { return scope == "" })
	}
	// RFC 8705 section 3, RFC 9449 section 7.1. Accepting it as a bearer token would defeat the binding.
	if _, bound := claims["cnf"]; bound {
		return nil, senderConstrained.about("cnf", "a value", "no such claim")
	}
	if found.expires, err = claimTime(claims, "exp", true); err != nil {
		return nil, err
	}
	if found.issued, err = claimTime(claims, "iat", true); err != nil {
		return nil, err
	}
	if found.notBefore, err = claimTime(claims, "nbf", false); err != nil {
		return nil, err
	}
	if found.actors, err = actors(claims); err != nil {
		return nil, err
	}
	found.ancestors = ancestors(claims)
	return found, nil
}

func audiences(claims map[string]any) ([]string, error) {
	switch aud := claims["aud"].(type) {
	case string:
		if aud != "" {
			return []string{aud}, nil
		}
	case []any:
		several := make([]string, 0, len(aud))
		for _, item := range aud {
			if text, ok := item.(string); ok {
				several = append(several, text)
			}
		}
		if len(several) == len(aud) && len(aud) > 0 {
			return several, nil
		}
	}
	return nil, malformed.about("aud", kindOf(claims, "aud"), "a string or strings")
}

// actors reads the chain of RFC 8693 section 4.1. The depth of the JSON bounds it.
func actors(claims map[string]any) ([]Actor, error) {
	var chain []Actor
	for act, there := claims["act"]; there; {
		members, ok := act.(map[string]any)
		if !ok {
			return nil, malformed.about("act", strict.Kind(act), "an object")
		}
		actor := Actor{}
		var err error
		if actor.Subject, err = claimText(members, "sub"); err != nil {
			return nil, err
		}
		for name, into := range map[string]*string{"client_id": &actor.ClientID, "iss": &actor.Issuer} {
			value, there := members[name]
			if *into, ok = value.(string); there && !ok {
				return nil, malformed.about("act."+name, strict.Kind(value), "a string")
			}
		}
		chain = append(chain, actor)
		act, there = members["act"]
	}
	return chain, nil
}

// ancestors reads m2m_ancestors, a private claim of this project's issuer: [jti, client_id, iat], nearest
// first. An entry of another shape belongs to another project, and is skipped.
func ancestors(claims map[string]any) []ancestor {
	list, _ := claims["m2m_ancestors"].([]any)
	var found []ancestor
	for _, item := range list {
		entry, _ := item.([]any)
		if len(entry) != 3 {
			continue
		}
		tokenID, isText := entry[0].(string)
		clientID, isTextToo := entry[1].(string)
		issued, whole := strict.Whole(entry[2])
		if isText && isTextToo && whole {
			found = append(found, ancestor{tokenID, clientID, issued})
		}
	}
	return found
}

func claimText(claims map[string]any, name string) (string, error) {
	text, _ := claims[name].(string)
	if text == "" {
		return "", malformed.about(name, kindOf(claims, name), "text")
	}
	return text, nil
}

func claimTime(claims map[string]any, name string, required bool) (uint64, error) {
	value, there := claims[name]
	if !there && !required {
		return 0, nil
	}
	seconds, whole := strict.Whole(value)
	if !whole || seconds > numericDateMax {
		return 0, malformed.about(name, kindOf(claims, name), "a whole number of seconds since 1970")
	}
	return seconds, nil
}

func kindOf(claims map[string]any, name string) string {
	value, there := claims[name]
	if !there {
		return "nothing"
	}
	return strict.Kind(value)
}

// quotedMax is the longest text of a token that a log line quotes, in characters. An issuer URL fits.
const quotedMax = 96

// quoted returns a member's text for the log: escaped and cut, as an attacker may have written it.
func quoted(text string) string {
	runes := []rune(text)
	if len(runes) > quotedMax {
		text = string(runes[:quotedMax]) + "…"
	}
	return fmt.Sprintf("%q", text)
}
