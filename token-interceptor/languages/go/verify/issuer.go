package verify

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"m2m.example/go/internal/destination"
	"m2m.example/go/policy"
)

const (
	maxAgeDefault     = 5 * time.Minute // of a fetched key set
	cooldownDefault   = 5 * time.Second // between fetches that unknown keys cause
	staleAfterPushed  = time.Hour
	retryAfterStale   = 5 * time.Second
	freshnessMin      = time.Second // a shorter time would ask the issuer without a pause
	accessTokenType   = "at+jwt"
	applicationPrefix = "application/"
)

// TrustedIssuer is an issuer whose tokens are accepted, and the source of its keys. The zero values of the
// other fields are the defaults.
type TrustedIssuer struct {
	// Issuer is its identifier, compared byte for byte with the `iss` of every token. By default it is also
	// the URL at which the metadata are found (OpenID Connect Discovery, RFC 8414).
	Issuer string
	// JWKSURL is the URL of its JWK Set, for an issuer without metadata.
	JWKSURL string
	// Keys are keys that do not change. Nothing is fetched then.
	Keys *KeySet
	// Push follows a stream of keys and revocations. Nothing is fetched then. tokens.Watch makes one.
	Push func(ctx context.Context, trust *Trust) error
	// Fetch replaces the HTTP requests: it returns the body of the JWK Set.
	Fetch func(ctx context.Context) ([]byte, error)

	// Audiences limits the audiences that its tokens are accepted for. Empty: any that a policy names.
	Audiences []string
	// Clients limits the clients that it may issue tokens for: IDs, or prefixes and a final "*". A client ID
	// is unique only within its issuer (RFC 9068 section 4). Where several trusted issuers share an audience,
	// a policy that names callers needs this field. {"*"} accepts its client IDs as they are.
	Clients []string
	// Scopes limits the scopes that it may grant, in the same form. Other scopes in its tokens are ignored.
	Scopes []string
	// Algorithms are the accepted ones. Empty: those of DefaultAlgorithms.
	Algorithms []Algorithm
	// Revocations are the program's own, in addition to those that the issuer pushes.
	Revocations *Revocations

	// TLS has the roots for HTTP requests. nil: the system's.
	TLS *tls.Config
	// HTTPClient replaces the HTTP client. It must not follow redirects.
	HTTPClient *http.Client
	// AllowPlaintext permits http to any host. An attacker on the network path can then replace the keys.
	AllowPlaintext bool
	// MaxAge is the age at which a key set is fetched again. Default: 5 minutes.
	MaxAge time.Duration
	// Cooldown is the minimum time between fetches that unknown keys cause. Default: 5 seconds.
	Cooldown time.Duration
	// StaleAfter is the time of an outage after which every token is rejected. For a pushed issuer the
	// default is one hour, as revocations may have been missed. A fetched key set has no limit by default.
	StaleAfter time.Duration
}

// issuer is a trusted issuer at run time.
type issuer struct {
	TrustedIssuer
	keys keySource
	own  *Revocations
	// clientIDsAreUnique is true if no other trusted issuer may have clients of the same ID.
	clientIDsAreUnique bool
}

func (t TrustedIssuer) build(now func() time.Time, log *slog.Logger) (*issuer, error) {
	if t.Issuer == "" {
		return nil, errors.New("the issuer identifier is empty")
	}
	t.MaxAge, t.Cooldown = cmp.Or(t.MaxAge, maxAgeDefault), cmp.Or(t.Cooldown, cooldownDefault)
	if t.MaxAge < freshnessMin || t.Cooldown < freshnessMin {
		return nil, errors.New("MaxAge and Cooldown must be a second at least")
	}
	for _, pattern := range slices.Concat(t.Clients, t.Scopes) {
		if pattern == "" || strings.ContainsAny(strings.TrimSuffix(pattern, "*"), "* ") {
			return nil, fmt.Errorf(`%q must be a name, or a prefix and one final "*"`, pattern)
		}
	}
	if len(t.Algorithms) == 0 {
		t.Algorithms = DefaultAlgorithms()
	}
	for _, algorithm := range t.Algorithms {
		if !slices.Contains(Algorithms(), algorithm) {
			return nil, fmt.Errorf("%q is not a supported algorithm", algorithm)
		}
	}
	built := &issuer{TrustedIssuer: t, own: t.Revocations}
	if built.own == nil {
		built.own = NewRevocations()
	}
	switch {
	case t.Keys != nil:
		built.keys = fixed{t.Keys}
	case t.Push != nil:
		built.keys = newPushed(t, now, log)
	default:
		fetch, err := t.fetcher()
		if err != nil {
			return nil, err
		}
		built.keys = &remote{
			issuer: t.Issuer, fetch: fetch, staleAfter: t.StaleAfter, now: now, log: log, wake: make(chan struct{}, 1),
			times: schedule{maxAge: t.MaxAge, cooldown: t.Cooldown, due: now()},
		}
	}
	return built, nil
}

func (t TrustedIssuer) fetcher() (func(context.Context) (*KeySet, error), error) {
	if t.Fetch != nil {
		return func(ctx context.Context) (*KeySet, error) {
			body, err := t.Fetch(ctx)
			if err != nil {
				return nil, err
			}
			return ParseKeySet(body)
		}, nil
	}
	if err := destination.CheckURL(cmp.Or(t.JWKSURL, t.Issuer), t.AllowPlaintext); err != nil {
		return nil, err
	}
	if t.JWKSURL == "" {
		if _, _, err := WellKnown(t.Issuer); err != nil {
			return nil, err
		}
	}
	client := t.HTTPClient
	if client == nil {
		client = HTTPClient(t.TLS)
	}
	return keysOverHTTP{client, t.Issuer, t.JWKSURL, t.AllowPlaintext}.fetch, nil
}

// shares returns true if both may issue tokens for one audience.
func (i *issuer) shares(other *issuer) bool {
	if len(i.Audiences) == 0 || len(other.Audiences) == 0 {
		return true
	}
	return slices.ContainsFunc(i.Audiences, func(audience string) bool { return slices.Contains(other.Audiences, audience) })
}

func (i *issuer) speaksFor(audience string) bool {
	return len(i.Audiences) == 0 || slices.Contains(i.Audiences, audience)
}

func (i *issuer) checkFresh(now time.Time) error {
	if i.keys.stale(now) {
		return &Refusal{check: keyUnavailable, retryAfter: retryAfterStale}
	}
	return nil
}

func (i *issuer) checkHeader(token *unverified) error {
	if token.foreignKey != "" {
		return headerNotAllowed.about(token.foreignKey, "a value", "no such header parameter")
	}
	if !slices.Contains(i.Algorithms, token.algorithm) {
		return algorithmNotAllowed.about("alg", quoted(string(token.algorithm)), fmt.Sprintf("one of %q", i.Algorithms))
	}
	return nil
}

// checkType checks `typ` (RFC 9068 section 4): a media type, in any case, `application/` left out or not.
func (i *issuer) checkType(token *unverified) error {
	short := token.typ
	if len(short) >= len(applicationPrefix) && strings.EqualFold(short[:len(applicationPrefix)], applicationPrefix) {
		short = short[len(applicationPrefix):]
	}
	if !token.hasType || !strings.EqualFold(short, accessTokenType) {
		return typeNotAllowed.about("typ", quoted(token.typ), quoted(accessTokenType))
	}
	return nil
}

// limit applies the issuer's rights: its own clients, and the scopes that it may grant.
func (i *issuer) limit(token *Token) error {
	token.clientIDIsUnique = i.clientIDsAreUnique
	if len(i.Scopes) > 0 {
		token.scopes = slices.DeleteFunc(token.scopes, func(scope string) bool { return !among(i.Scopes, scope) })
	}
	if len(i.Clients) > 0 && !among(i.Clients, token.clientID) {
		return clientNotTrusted.about("client_id", quoted(token.clientID), fmt.Sprintf("one of %q", i.Clients))
	}
	return nil
}

func among(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool { return policy.Matches(pattern, name) })
}

func (i *issuer) checkAudience(token *Token, audience string) error {
	if !i.speaksFor(audience) {
		return audienceMismatch.about("aud", quoted(audience), "an audience for which this issuer is trusted")
	}
	if !slices.Contains(token.audiences, audience) {
		return audienceMismatch.about("aud", quoted(strings.Join(token.audiences, " ")), quoted(audience))
	}
	return nil
}

func (i *issuer) revocationVersion() uint64 {
	version := i.own.version.Load()
	if pushed := i.keys.revocations(); pushed != nil {
		version += pushed.version.Load()
	}
	return version
}

func (i *issuer) checkRevoked(token *Token) error {
	pushed := i.keys.revocations()
	if i.own.revokes(token) || (pushed != nil && pushed.revokes(token)) {
		return revoked.about("jti", quoted(token.tokenID), "a token that is not revoked")
	}
	return nil
}
