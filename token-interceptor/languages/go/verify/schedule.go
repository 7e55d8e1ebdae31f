package verify

import "time"

// The pauses of key set fetches.
const (
	firstPause    = 500 * time.Millisecond // after a failure while there is no set
	emptyPauseMax = 5 * time.Second        // while there is no set: every call is rejected meanwhile
	stalePauseMax = time.Minute            // while an old set is used
)

// schedule is the schedule of key set fetches: a pure function of past events and now.
//
// A set is fetched again at the age maxAge. An unknown key causes a fetch at once, but no sooner than
// cooldown after the last such fetch ended. So a flood of invented key IDs costs one fetch per cooldown, and
// the first token of a new key finds it.
type schedule struct {
	maxAge, cooldown time.Duration
	due              time.Time // of the next regular fetch
	quietUntil       time.Time // an unknown key causes no fetch before
	inFlight         bool
	forUnknownKey    bool // the fetch in flight
	wanted           bool // an unknown key requested a fetch that has not begun
	failures         int
	holdsASet        bool
}

// unknownKey is the verdict on a token whose key is not in the set.
type unknownKey struct {
	wait       bool          // a fetch is in flight or begins now
	retryAfter time.Duration // above zero: the last fetch failed, so the key may exist
}

func (s *schedule) next(now time.Time) time.Time {
	if s.wanted {
		return now
	}
	return s.due
}

func (s *schedule) begin() { s.inFlight, s.forUnknownKey, s.wanted = true, s.wanted, false }

func (s *schedule) succeeded(now time.Time) {
	if s.forUnknownKey {
		s.quietUntil = now.Add(s.cooldown)
	}
	s.inFlight, s.failures, s.holdsASet, s.due = false, 0, true, now.Add(s.maxAge)
}

// failed plans the next fetch. draw is uniform in 0..1, so that many verifiers do not retry at once.
func (s *schedule) failed(now time.Time, draw float64) {
	s.inFlight = false
	pause := firstPause << min(s.failures, 16)
	s.failures++
	if s.holdsASet {
		pause = max(min(pause, stalePauseMax), s.cooldown)
	} else {
		pause = min(pause, emptyPauseMax)
	}
	s.quietUntil = now.Add(s.cooldown)
	s.due = now.Add(pause + time.Duration(float64(min(pause, stalePauseMax))*draw/4))
}

func (s *schedule) unknownKey(now time.Time) unknownKey {
	if s.inFlight || s.wanted || !s.due.After(now) {
		return unknownKey{wait: true}
	}
	if quiet := s.quietUntil.Sub(now); quiet > 0 {
		if s.failures == 0 {
			return unknownKey{}
		}
		return unknownKey{retryAfter: min(quiet, s.due.Sub(now))}
	}
	s.wanted = true
	return unknownKey{wait: true}
}
