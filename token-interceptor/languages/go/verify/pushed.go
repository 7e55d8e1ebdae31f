package verify

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// SilenceMax is the longest silence on a trust stream. The server sends a heartbeat every 10 seconds; after
	// three missed ones the stream is dead.
	SilenceMax       = 30 * time.Second
	pushedPauseFirst = 100 * time.Millisecond
	pushedPauseMax   = 5 * time.Second
	forgetEvery      = time.Minute
)

// TrustStep is one message of a trust stream: m2m.token.v1.WatchTrustResponse.
type TrustStep struct {
	// Version is the version of the complete step, for the next connection.
	Version string
	// Snapshot is true if Keys replaces all earlier keys.
	Snapshot bool
	// Keys are JWKs by key ID. An empty one is of a distrusted key.
	Keys map[string]string
	// RemovedKeyIDs are the keys that sign no valid token any more.
	RemovedKeyIDs []string
	// Revocations are new ones.
	Revocations []TrustRevocation
	// MoreFollows is true if the next message continues this step.
	MoreFollows bool
	// ServerTime is the time on the issuer's clock. Zero if it is not told.
	ServerTime time.Time
}

// TrustRevocation revokes a token, or every token of a client issued before a time.
type TrustRevocation struct {
	// Hash is the 16 bytes of the target.
	Hash []byte
	// IssuedBefore is the zero time for a single token.
	IssuedBefore time.Time
	// ForgetAt is the zero time if the entry is kept for good.
	ForgetAt time.Time
}

// Trust is the state that an issuer pushes: its keys and revocations. A key arrives before its first use and
// a revocation within a second. So while the stream is live, an unknown key is not the issuer's. When the
// stream is lost, the last state is used until it is too old.
type Trust struct {
	held
	issuer     string
	follow     func(ctx context.Context, trust *Trust) error
	staleAfter time.Duration
	now        func() time.Time
	log        *slog.Logger
	revoked    *Revocations
	heard      atomic.Pointer[time.Time]
	ahead      atomic.Int64 // nanoseconds by which this machine's clock is ahead of the issuer's; at least 0
	live       atomic.Bool

	mutex   sync.Mutex
	version string
	jwks    map[string]string
	changed bool
}

func newPushed(t TrustedIssuer, now func() time.Time, log *slog.Logger) *Trust {
	pushed := &Trust{
		issuer: t.Issuer, follow: t.Push, staleAfter: t.StaleAfter, now: now, log: log,
		revoked: NewRevocations(), jwks: map[string]string{},
	}
	if pushed.staleAfter == 0 {
		pushed.staleAfter = staleAfterPushed
	}
	began := now()
	pushed.heard.Store(&began)
	return pushed
}

// Issuer returns the identifier of the issuer that is followed.
func (t *Trust) Issuer() string { return t.issuer }

// Version returns the version of the last complete step. It is empty before the first.
func (t *Trust) Version() string {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	return t.version
}

// Apply applies one message. The state counts as current once the last part of a step has arrived. An error
// means that the stream must not go on.
func (t *Trust) Apply(step TrustStep) error {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	// Revocations first: a key in the same message must not admit a token that the message revokes.
	for _, revocation := range step.Revocations {
		if len(revocation.Hash) != len(targetHash{}) {
			return errors.New("it pushes revocations of a kind that is unknown here")
		}
		// Without a time, too much is refused, never too little.
		issuedBefore, forget := uint64(math.MaxUint64), uint64(math.MaxUint64)
		if !revocation.IssuedBefore.IsZero() {
			issuedBefore = numericDateAfter(revocation.IssuedBefore)
		}
		if !revocation.ForgetAt.IsZero() {
			forget = numericDateAfter(revocation.ForgetAt)
		}
		t.revoked.add(targetHash(revocation.Hash), issuedBefore, forget)
	}
	if step.Snapshot {
		clear(t.jwks)
	}
	t.changed = t.changed || step.Snapshot || len(step.Keys) > 0 || len(step.RemovedKeyIDs) > 0
	for id, jwk := range step.Keys {
		if jwk == "" {
			delete(t.jwks, id)
		} else {
			t.jwks[id] = jwk
		}
	}
	for _, id := range step.RemovedKeyIDs {
		delete(t.jwks, id)
	}
	// The first state is used only once it is complete, because some revocations may still be missing. After
	// that, a distrusted key is removed at once.
	if t.changed && (!step.MoreFollows || t.version != "") {
		var jwks [][]byte
		for jwk := range maps.Values(t.jwks) {
			jwks = append(jwks, []byte(jwk))
		}
		slices.SortFunc(jwks, bytes.Compare)
		if set := keySetOf(jwks); t.hold(set) {
			t.log.Info("received a new key set", "issuer", t.issuer, "keys", set.Len(), "skipped", set.Skipped())
		}
		t.changed = false
	}
	if !step.MoreFollows {
		now := t.now()
		t.version = step.Version
		t.heard.Store(&now)
		if !step.ServerTime.IsZero() {
			t.ahead.Store(int64(max(now.Sub(step.ServerTime), 0)))
		}
		t.live.Store(true)
		t.tell()
	}
	return nil
}

func (t *Trust) revocations() *Revocations { return t.revoked }

func (t *Trust) stale(now time.Time) bool { return ageOf(*t.heard.Load(), now) > t.staleAfter }

func (t *Trust) unknown(now time.Time) unknownKey {
	if t.live.Load() && ageOf(*t.heard.Load(), now) <= SilenceMax {
		return unknownKey{}
	}
	if set, _ := t.current(); set != nil {
		return unknownKey{retryAfter: pushedPauseMax}
	}
	return unknownKey{wait: true}
}

func (t *Trust) run(ctx context.Context) {
	failures := 0
	forgetting := time.NewTicker(forgetEvery)
	defer forgetting.Stop()
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-forgetting.C:
				// By the earlier of the two clocks, so that neither removes an entry too early.
				t.revoked.Forget(t.now().Add(-time.Duration(t.ahead.Load())))
			}
		}
	}()
	for ctx.Err() == nil {
		before := t.news()
		err := t.follow(ctx, t)
		t.live.Store(false)
		if ctx.Err() != nil {
			return
		}
		failures++
		if t.news() > before {
			failures = 0
		}
		t.log.Warn("lost the trust stream; the last state stays in use", "issuer", t.issuer, "error", err)
		pause := min(pushedPauseFirst<<min(failures, 10), pushedPauseMax)
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(float64(pause) * (0.5 + rand.Float64()/2))):
		}
	}
}
