package refresh

import "time"

const (
	// pauseMin is the shortest pause, for any draw: a source that fails at once is not asked in a busy loop.
	pauseMin       = 50 * time.Millisecond
	transientFirst = 100 * time.Millisecond
	transientMax   = 30 * time.Second
	refusedFirst   = time.Second
	refusedMax     = time.Minute
	// retryAfterMax is the longest pause that a server may demand. It may be a mistake.
	retryAfterMax = 5 * time.Minute
	// retryAfterSpreadMax is the longest random addition to it, so that a fleet does not return at once.
	retryAfterSpreadMax = time.Second
	apartFirst          = time.Second
	apartMax            = time.Minute
)

// transientPause is the pause after transient failures in a row: full jitter over 100 ms, doubling up to 30
// s.
func transientPause(failures int, draw float64) time.Duration {
	return max(times(doubled(transientFirst, failures, transientMax), draw), pauseMin)
}

// refusedPause is the time for which a refusal is cached: 1 s, doubling up to 60 s, never for ever.
func refusedPause(failures int, draw float64) time.Duration {
	return min(times(doubled(refusedFirst, failures, refusedMax), 1+draw/4), refusedMax)
}

// askedFor is the pause that the server demands, bounded.
func askedFor(retryAfter time.Duration, draw float64) time.Duration {
	pause := min(retryAfter, retryAfterMax)
	return pause + times(min(pause/10, retryAfterSpreadMax), draw)
}

func doubled(first time.Duration, failures int, limit time.Duration) time.Duration {
	return min(first<<min(max(failures-1, 0), 16), limit)
}

// pace is the pace at which a rejected token may be replaced: at once, then after 1 s, 2 s, up to 60 s. A
// server that refuses every token must not make its callers flood the issuer.
type pace struct {
	began bool
	at    time.Duration
	apart time.Duration
}

func (p *pace) allowedAt(now time.Duration) time.Duration {
	if !p.began {
		return now
	}
	return p.at + p.apart
}

func (p *pace) begin(now time.Duration) {
	if p.began && now-p.at < 2*p.apart {
		p.apart = min(2*p.apart, apartMax)
	} else { // quiet for twice the interval: that trouble is over
		p.apart = apartFirst
	}
	p.began, p.at = true, now
}
