// Package verify verifies access tokens (RFC 9068) and decides calls. It needs no gRPC library: package
// tokens puts it into grpc-go, and package tokenhttp into net/http.
//
// github.com/go-jose/go-jose checks the signatures. The checks around it are this package's own, and strict.
package verify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	leewayDefault     = 5 * time.Second
	leewayMax         = 10 * time.Minute // more would extend the life of every token
	tokenBytesDefault = 8 * 1024         // a longer token is rejected unparsed
	cacheBytesDefault = 64 << 20         // some 20,000 tokens
	// fetchesAwaitedMax is the number of fetches that one call waits for: one that began before its key was
	// published, and one of its own.
	fetchesAwaitedMax = 2
	keyOnItsWay       = time.Second
)

// Config holds the settings of a Verifier. The zero values are the defaults, but for Issuers.
type Config struct {
	// Issuers are the trusted issuers: one at least.
	Issuers []TrustedIssuer
	// Leeway is the tolerance for differing clocks, in whole seconds. Default: 5 s. At most ten minutes.
	Leeway time.Duration
	// TokenBytesMax is the longest token that is read. Default: 8 KiB.
	TokenBytesMax int
	// CacheBytesMax bounds the memory for verified tokens. Default: 64 MiB. Below zero: every token is
	// verified anew.
	CacheBytesMax int
	// Now replaces the clock.
	Now func() time.Time
	// Logger gets what an operator needs to know. Default: slog.Default.
	Logger *slog.Logger
}

// Verifier verifies tokens of the issuers that it trusts. A signature is checked once; everything that may
// change is checked on every call. It is safe for concurrent use.
type Verifier struct {
	issuers       []*issuer
	leeway        time.Duration
	tokenBytesMax int
	cache         *cache
	now           func() time.Time
	log           *slog.Logger
	stop          context.CancelFunc
	running       sync.WaitGroup
}

// New builds a verifier and begins to fetch keys. An unreachable issuer is no error, and is asked again. Call
// Close when the verifier is no longer needed.
func New(config Config) (*Verifier, error) {
	v := &Verifier{
		leeway: config.Leeway.Truncate(time.Second), tokenBytesMax: config.TokenBytesMax, now: config.Now, log: config.Logger,
	}
	if config.Leeway == 0 {
		v.leeway = leewayDefault
	}
	if v.tokenBytesMax == 0 {
		v.tokenBytesMax = tokenBytesDefault
	}
	if v.now == nil {
		v.now = time.Now
	}
	if v.log == nil {
		v.log = slog.Default()
	}
	if v.leeway < 0 || v.leeway > leewayMax {
		return nil, errors.New("the leeway is not between zero and ten minutes")
	}
	if len(config.Issuers) == 0 {
		return nil, errors.New("no issuer is trusted, so every token would be refused")
	}
	if config.CacheBytesMax == 0 {
		config.CacheBytesMax = cacheBytesDefault
	}
	v.cache = newCache(config.CacheBytesMax)
	for _, trusted := range config.Issuers {
		built, err := trusted.build(v.now, v.log)
		if err != nil {
			return nil, fmt.Errorf("issuer %q: %w", trusted.Issuer, err)
		}
		if v.find(built.Issuer) != nil {
			return nil, fmt.Errorf("issuer %q: is named twice", built.Issuer)
		}
		v.issuers = append(v.issuers, built)
	}
	v.tellClientsApart()
	ctx, stop := context.WithCancel(context.Background())
	v.stop = stop
	for _, issuer := range v.issuers {
		v.running.Go(func() { issuer.keys.run(ctx) })
	}
	v.running.Go(func() { v.forget(ctx) })
	return v, nil
}

// forget removes the program's own revocations that no token needs any more.
func (v *Verifier) forget(ctx context.Context) {
	every := time.NewTicker(forgetEvery)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
			for _, issuer := range v.issuers {
				issuer.own.Forget(v.now())
			}
		}
	}
}

// tellClientsApart finds the issuers whose `client_id` alone identifies a client. RFC 9068 section 4.
func (v *Verifier) tellClientsApart() {
	for _, one := range v.issuers {
		one.clientIDsAreUnique = true
		for _, other := range v.issuers {
			if one != other && one.shares(other) && len(one.Clients) == 0 {
				one.clientIDsAreUnique = false
			}
		}
	}
}

// Close ends the fetching of keys and waits for it.
func (v *Verifier) Close() {
	v.stop()
	v.running.Wait()
}

// ClientIDsAreUnique returns true if `client_id` alone identifies the caller in tokens for audience.
func (v *Verifier) ClientIDsAreUnique(audience string) bool {
	for _, issuer := range v.issuers {
		if issuer.speaksFor(audience) && !issuer.clientIDsAreUnique {
			return false
		}
	}
	return true
}

// Verify verifies a token for audience. It waits briefly for a key that is being fetched. The error is a
// *Refusal.
func (v *Verifier) Verify(ctx context.Context, token, audience string) (*Token, error) {
	verified, err := v.verify(ctx, token, audience, v.now())
	if err != nil {
		return nil, err
	}
	return verified.token, nil
}

// seen is a verified token, and the grounds of the verdict.
type seen struct {
	token  *Token
	text   string
	issuer *issuer
	key    *key
	// The versions in which the key was found, and the revocations were searched, last.
	keyVersion, revocationVersion atomic.Uint64
}

func (v *Verifier) verify(ctx context.Context, token, audience string, now time.Time) (*seen, error) {
	if found := v.cache.get(token); found != nil {
		stillGood, err := v.isStillGood(found, audience, now)
		if err != nil {
			if refusal := (*Refusal)(nil); errors.As(err, &refusal) && !refusal.IsTransient() && refusal.check != audienceMismatch {
				v.cache.remove(token)
			}
			return nil, err
		}
		if stillGood {
			return found, nil
		}
	}
	for waits := 0; ; waits++ {
		found, wait, err := v.attempt(token, audience, now)
		if err != nil {
			return nil, err
		}
		if found != nil {
			v.cache.put(found)
			return found, nil
		}
		if waits == fetchesAwaitedMax || !wait.issuer.keys.newsSince(ctx, wait.news) {
			return nil, &Refusal{check: keyUnavailable, retryAfter: keyOnItsWay}
		}
	}
}

// isStillGood checks everything that may have changed since the token was verified. It returns false if the
// issuer no longer publishes the key. Then the token has to be verified anew.
func (v *Verifier) isStillGood(found *seen, audience string, now time.Time) (bool, error) {
	issuer := found.issuer
	if err := issuer.checkFresh(now); err != nil {
		return false, err
	}
	set, version := issuer.keys.current()
	if found.keyVersion.Load() != version {
		if set == nil || !set.holds(found.key) {
			return false, nil
		}
		found.keyVersion.Store(version)
	}
	if err := issuer.checkAudience(found.token, audience); err != nil {
		return false, err
	}
	if err := v.checkTimes(found.token, now); err != nil {
		return false, err
	}
	if version := issuer.revocationVersion(); found.revocationVersion.Load() != version {
		if err := issuer.checkRevoked(found.token); err != nil {
			return false, err
		}
		found.revocationVersion.Store(version)
	}
	return true, nil
}

// checkAgain checks the token of a call in progress. An unreachable issuer ends no call.
func (v *Verifier) checkAgain(found *seen, audience string, now time.Time) error {
	stillGood, err := v.isStillGood(found, audience, now)
	if err == nil && !stillGood {
		_, _, err = v.attempt(found.text, audience, now)
	}
	if refusal := (*Refusal)(nil); errors.As(err, &refusal) && refusal.IsTransient() {
		return nil
	}
	return err
}

// checkTimes applies RFC 7519 sections 4.1.4 to 4.1.6.
func (v *Verifier) checkTimes(token *Token, at time.Time) error {
	now, leeway := numericDate(at), uint64(v.leeway/time.Second)
	switch {
	case now >= token.expires+leeway:
		return expired.about("exp", strconv.FormatUint(token.expires, 10), fmt.Sprintf("more than %d less %d", now, leeway))
	case token.notBefore > now+leeway:
		return notYetValid.about("nbf", strconv.FormatUint(token.notBefore, 10), fmt.Sprintf("at most %d and %d", now, leeway))
	case token.issued > now+leeway:
		return issuedInFuture.about("iat", strconv.FormatUint(token.issued, 10), fmt.Sprintf("at most %d and %d", now, leeway))
	default:
		return nil
	}
}

func (v *Verifier) find(id string) *issuer {
	for _, issuer := range v.issuers {
		if issuer.Issuer == id {
			return issuer
		}
	}
	return nil
}
