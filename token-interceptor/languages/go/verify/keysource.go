package verify

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

const (
	fetchTimeMax   = 5 * time.Second // of a fetch, all its steps together
	keyWaitMax     = 2 * time.Second // of a call for its key; then it reads UNAVAILABLE
	keyWaitersMax  = 1024            // so that a flood does not fill the memory
	retryAfterWait = time.Second     // for a call whose wait was too long
)

// keySource is the source of an issuer's current keys: fixed, fetched, or pushed.
type keySource interface {
	current() (set *KeySet, version uint64) // nil before the first
	unknown(now time.Time) unknownKey
	stale(now time.Time) bool
	news() uint64
	// newsSince waits briefly for a key event after the first seen ones.
	newsSince(ctx context.Context, seen uint64) bool
	revocations() *Revocations
	run(ctx context.Context)
}

// held is the current key set, its version, and the calls that wait for a newer one.
type held struct {
	set     atomic.Pointer[KeySet]
	version atomic.Uint64
	waiting atomic.Int64

	mutex   sync.Mutex
	events  uint64
	changed chan struct{}
}

func (h *held) current() (*KeySet, uint64) { return h.set.Load(), h.version.Load() }

func (h *held) hold(set *KeySet) bool {
	if before := h.set.Load(); before != nil && before.content == set.content {
		return false
	}
	h.set.Store(set)
	h.version.Add(1)
	return true
}

// tell wakes the waiting calls: their key may have arrived.
func (h *held) tell() {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.events++
	if h.changed != nil {
		close(h.changed)
		h.changed = nil
	}
}

func (h *held) news() uint64 {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	return h.events
}

func (h *held) newsSince(ctx context.Context, seen uint64) bool {
	defer h.waiting.Add(-1)
	if h.waiting.Add(1) > keyWaitersMax {
		return false
	}
	h.mutex.Lock()
	if h.events > seen {
		h.mutex.Unlock()
		return true
	}
	if h.changed == nil {
		h.changed = make(chan struct{})
	}
	changed := h.changed
	h.mutex.Unlock()
	patience := time.NewTimer(keyWaitMax)
	defer patience.Stop()
	select {
	case <-changed:
		return true
	case <-patience.C:
		return false
	case <-ctx.Done():
		return false
	}
}

// fixed is a key set that does not change.
type fixed struct{ set *KeySet }

func (f fixed) current() (*KeySet, uint64)                 { return f.set, 0 }
func (f fixed) unknown(time.Time) unknownKey               { return unknownKey{} }
func (f fixed) stale(time.Time) bool                       { return false }
func (f fixed) news() uint64                               { return 0 }
func (f fixed) newsSince(_ context.Context, _ uint64) bool { return true }
func (f fixed) revocations() *Revocations                  { return nil }
func (f fixed) run(context.Context)                        {}

// remote is a key set that is fetched, cached, and fetched again: one task per issuer, one fetch at a time.
// A failed fetch leaves the cached set as it is.
type remote struct {
	held
	issuer     string
	fetch      func(context.Context) (*KeySet, error)
	staleAfter time.Duration // 0: a set is used through an outage of any length
	now        func() time.Time
	log        *slog.Logger
	wake       chan struct{}

	plan    sync.Mutex
	times   schedule
	fetched atomic.Pointer[time.Time]
}

func (r *remote) revocations() *Revocations { return nil }

func (r *remote) stale(now time.Time) bool {
	fetched := r.fetched.Load()
	return r.staleAfter > 0 && fetched != nil && ageOf(*fetched, now) > r.staleAfter
}

// ageOf is the age by the clock that ran further. One stands still while the machine is suspended; the other
// can be set.
func ageOf(at, now time.Time) time.Duration {
	return max(now.Sub(at), now.Round(0).Sub(at.Round(0)))
}

func (r *remote) unknown(now time.Time) unknownKey {
	r.plan.Lock()
	verdict := r.times.unknownKey(now)
	r.plan.Unlock()
	if verdict.wait {
		select {
		case r.wake <- struct{}{}:
		default:
		}
	}
	return verdict
}

func (r *remote) run(ctx context.Context) {
	for ctx.Err() == nil {
		r.plan.Lock()
		now := r.now()
		pause := r.times.next(now).Sub(now)
		if pause <= 0 {
			r.times.begin()
		}
		r.plan.Unlock()
		if pause <= 0 {
			r.fetchOnce(ctx)
			continue
		}
		// A clock that was set is noticed within a minute.
		timer := time.NewTimer(min(pause, time.Minute))
		select {
		case <-ctx.Done():
		case <-r.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

func (r *remote) fetchOnce(ctx context.Context) {
	within, cancel := context.WithTimeout(ctx, fetchTimeMax)
	defer cancel()
	set, err := r.fetch(within)
	if err == nil {
		err = set.usable()
	}
	now := r.now()
	r.plan.Lock()
	if err == nil {
		r.times.succeeded(now)
	} else {
		r.times.failed(now, rand.Float64())
	}
	r.plan.Unlock()
	if err != nil {
		if ctx.Err() == nil {
			r.log.Warn("the issuer's keys cannot be fetched; the last key set stays in use", "issuer", r.issuer, "error", err)
		}
	} else {
		r.fetched.Store(&now)
		if r.hold(set) {
			r.log.Info("loaded a new key set", "issuer", r.issuer, "keys", set.Len(), "skipped", set.Skipped())
		}
	}
	r.tell()
}
