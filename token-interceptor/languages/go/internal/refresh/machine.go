// Package refresh renews one access token in time.
//
// Machine decides when to request a token and which one to use. It is pure: it takes an event, two clocks and
// a random draw. Token is the shell around it, with the source, timers, and the calls that wait.
package refresh

import "time"

const (
	// lifetimeMax is the longest use of a token, even if its issuer states a longer lifetime.
	lifetimeMax = 365 * 24 * time.Hour
	// expiredPatience is the time for which calls wait while the source returns expired tokens. A source with a
	// cache may return the old one until its last second. After that it is an outage.
	expiredPatience = 5 * time.Second
	expiredPauseMax = time.Second
)

// Now is one reading of both clocks. Monotonic time stands still while a machine is suspended, and the wall
// clock may be set back. A time has come when either has reached it.
type Now struct {
	Mono time.Duration
	Wall time.Time
}

func (n Now) plus(duration time.Duration) Now {
	duration = min(duration, lifetimeMax)
	return Now{n.Mono + duration, n.Wall.Add(duration)}
}

func (n Now) hasReached(moment Now) bool {
	return n.Mono >= moment.Mono || !n.Wall.Before(moment.Wall)
}

// event is an event of the machine: woke, wanted, rejected, fetched or failed.
type event interface{ apply(*machine, Now, float64) }

type (
	// woke: the time of next.wake has come.
	woke struct{}
	// wanted: a call finds no usable token, or sees that renewal is due.
	wanted struct{}
	// rejected: a server refused the token of this generation.
	rejected struct{ generation uint64 }
	// fetched: the source returned a token.
	fetched struct {
		askedAt      Now // the lifetime counts from here, so it is never too long
		expiresIn    time.Duration
		refreshAfter time.Duration
	}
	// failed: the source failed.
	failed struct {
		refused    bool
		expired    bool // the token had expired on arrival
		retryAfter time.Duration
	}
)

// next is the next action.
type next struct {
	fetch   bool          // request a token now
	wake    time.Duration // report woke at this monotonic time
	hasWake bool
}

// heldToken is the current token: its times, never its text.
type heldToken struct {
	generation uint64
	renewAt    Now
	expiresAt  Now // from here on it must not be used
	rejected   bool
}

// trouble is what the failures so far amount to.
type trouble struct {
	refused  bool
	failures int
	retryAt  time.Duration
	// forgotten: calls wait for a new answer and do not get this one. It is a refusal whose time is over, or an
	// expired token.
	forgotten    bool
	expired      bool
	expiredSince time.Duration
}

type machine struct {
	whileUsed  bool // renew only while in use: for tokens of callers, whose number is unbounded
	generation uint64
	held       *heldToken
	inFlight   *time.Duration
	trouble    *trouble
	pace       pace
	rejected   uint64
	wanted     bool
	used       bool
}

// handle handles an event. draw is uniform in 0..1.
func (m *machine) handle(event event, now Now, draw float64) next {
	event.apply(m, now, draw)
	m.passTime(now)
	fetch := m.inFlight == nil && m.wanted && now.Mono >= m.blockedUntil(now)
	if fetch {
		if m.held != nil && m.held.rejected {
			m.pace.begin(now.Mono)
		}
		m.inFlight = &now.Mono
	}
	wake, hasWake := m.wake(now)
	return next{fetch, wake, hasWake}
}

func (woke) apply(*machine, Now, float64) {}

func (wanted) apply(m *machine, now Now, _ float64) {
	m.wanted = m.wanted || m.held == nil || now.hasReached(m.held.renewAt)
}

func (r rejected) apply(m *machine, _ Now, _ float64) {
	if r.generation <= m.rejected {
		return
	}
	m.rejected = r.generation
	if m.held != nil && m.held.generation == r.generation {
		m.held.rejected = true
		m.wanted = true
	}
}

func (f fetched) apply(m *machine, _ Now, draw float64) {
	m.generation++
	m.held = &heldToken{
		generation: m.generation,
		renewAt:    f.askedAt.plus(f.renewAfter(draw)),
		expiresAt:  f.askedAt.plus(f.expiresIn),
	}
	m.inFlight, m.trouble, m.wanted, m.used = nil, nil, false, false
}

// renewAfter returns the time of renewal. It is the server's, if that is plausible. Otherwise it is between
// 65 and 80 % of the lifetime: early enough to survive an outage, late enough not to double the load.
func (f fetched) renewAfter(draw float64) time.Duration {
	lifetime := min(f.expiresIn, lifetimeMax)
	after := f.refreshAfter
	if after <= 0 || after >= lifetime {
		after = times(lifetime, 0.65+0.15*draw)
	}
	return max(after, min(time.Second, lifetime/2))
}

func (f failed) apply(m *machine, now Now, draw float64) {
	began := now.Mono
	if m.inFlight != nil {
		began = *m.inFlight
	}
	m.inFlight = nil
	latest := trouble{refused: f.refused, failures: 1, expired: f.expired, expiredSince: now.Mono}
	if before := m.trouble; before != nil && before.refused == f.refused {
		latest.failures += before.failures
		if before.expired {
			latest.expiredSince = before.expiredSince
		}
	}
	patient := f.expired && now.Mono-latest.expiredSince < expiredPatience
	if f.refused {
		latest.retryAt = now.Mono + refusedPause(latest.failures, draw)
	} else {
		pause := transientPause(latest.failures, draw)
		if patient {
			pause = min(pause, expiredPauseMax)
		}
		// Counted from the start of the attempt: one that hung has already waited.
		latest.retryAt = max(began+pause, now.Mono+pauseMin)
	}
	if f.retryAfter > 0 {
		latest.retryAt = max(latest.retryAt, now.Mono+askedFor(f.retryAfter, draw))
	}
	latest.forgotten = patient
	m.trouble = &latest
	// After a refusal, the next request waits until a call needs a token.
	m.wanted = m.wanted && !f.refused
}

// passTime applies the changes that time alone causes.
func (m *machine) passTime(now Now) {
	if m.held != nil && now.hasReached(m.held.expiresAt) {
		// If only the wall clock has reached it, the machine was suspended, and earlier failures no longer
		// matter.
		if now.Mono < m.held.expiresAt.Mono && m.trouble != nil && !m.trouble.refused {
			m.trouble = nil
		}
		m.held = nil
	}
	refused := m.trouble != nil && m.trouble.refused
	if refused && now.Mono >= m.trouble.retryAt {
		m.trouble.forgotten = true
	}
	due := m.held != nil && now.hasReached(m.held.renewAt)
	m.wanted = m.wanted || (due && !refused && (m.used || !m.whileUsed))
}

func (m *machine) blockedUntil(now Now) time.Duration {
	until := now.Mono
	if m.trouble != nil {
		until = m.trouble.retryAt
	}
	// A token that is due is renewed, rejected or not.
	if m.held != nil && m.held.rejected && !now.hasReached(m.held.renewAt) {
		until = max(until, m.pace.allowedAt(now.Mono))
	}
	return until
}

func (m *machine) wake(now Now) (at time.Duration, has bool) {
	add := func(moment time.Duration) {
		if !has || moment < at {
			at, has = moment, true
		}
	}
	if m.held != nil {
		add(m.held.expiresAt.Mono)
		if m.inFlight == nil && !now.hasReached(m.held.renewAt) {
			add(m.held.renewAt.Mono)
		}
	}
	if m.inFlight == nil && m.wanted {
		add(m.blockedUntil(now))
	}
	if m.trouble != nil && m.trouble.refused && !m.trouble.forgotten {
		add(m.trouble.retryAt)
	}
	return at, has
}

// blamed returns true if a call without a token fails with the last failure, and the time of the next
// request.
func (m *machine) blamed() (until time.Duration, blamed bool) {
	if m.trouble == nil || m.trouble.forgotten {
		return 0, false
	}
	return m.trouble.retryAt, true
}

func times(duration time.Duration, factor float64) time.Duration {
	return time.Duration(float64(duration) * factor)
}
