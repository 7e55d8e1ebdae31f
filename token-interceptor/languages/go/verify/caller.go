package verify

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"m2m.example/go/policy"
)

const (
	// dozeMax is the longest wait before the clock is read again. The machine may have been suspended, or its
	// clock set, and no stream may outlive its token by more than this.
	dozeMax = time.Second
	// looksApart is the minimum time between two searches of the revocations for a busy stream.
	looksApart = 500 * time.Millisecond
)

// Caller is the caller of a call: a verified token that met the method's demand.
type Caller struct {
	*Token
	seen     *seen
	verifier *Verifier
	method   policy.Method

	mutex     sync.Mutex
	checkedAt time.Time
	ended     error
}

type callerKey struct{}

// WithCaller returns a context that carries the caller. The layers call it.
func WithCaller(ctx context.Context, caller *Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, caller)
}

// CallerFrom returns the caller of the call that ctx belongs to. It returns false for a public method, unless
// the method says identify and the call has a token. It also returns false if the call passed no layer.
func CallerFrom(ctx context.Context) (*Caller, bool) {
	caller, ok := ctx.Value(callerKey{}).(*Caller)
	return caller, ok && caller != nil
}

// Bearer returns the token itself. It is a secret. Use it only to exchange it for a token of the next service
// (RFC 8693). Never forward it: it was issued for this service.
func (c *Caller) Bearer() string { return c.seen.text }

// Check returns an error if the call has to end: the token expired, was revoked, or became too old for the
// method. The error is a *Refusal, and is final. next is the time until the next check.
func (c *Caller) Check() (next time.Duration, err error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.ended != nil {
		return 0, c.ended
	}
	next, c.ended = c.judge(c.verifier.now())
	return next, c.ended
}

func (c *Caller) judge(now time.Time) (time.Duration, error) {
	left := time.Unix(int64(c.Token.expires), 0).Add(c.verifier.leeway).Sub(now.Round(0))
	if left <= 0 {
		return 0, expired.about("exp", strconv.FormatUint(c.Token.expires, 10), "a later time")
	}
	if c.method.Requirement.HasMaxTokenAge {
		// In whole seconds, as at the start of the call.
		end := time.Unix(int64(latest(c.Token, c.method.Requirement, c.verifier.leeway))+1, 0)
		if left = min(left, end.Sub(now.Round(0))); left <= 0 {
			return 0, refuse(tokenTooOld)
		}
	}
	// The clock may have been set back.
	if since := now.Sub(c.checkedAt); since < 0 || since >= looksApart {
		c.checkedAt = now
		if err := c.verifier.checkAgain(c.seen, c.method.Audience, now); err != nil {
			return 0, err
		}
	}
	return min(left, dozeMax), nil
}

// Ended waits until the call has to end, and returns the reason. It returns nil when ctx is done.
//
// The layers end streams by themselves. This is for work that they cannot see: a hijacked connection, or work
// that goes on after the answer.
func (c *Caller) Ended(ctx context.Context) *Refusal {
	for {
		doze, err := c.Check()
		if refusal := (*Refusal)(nil); errors.As(err, &refusal) {
			return refusal
		}
		timer := time.NewTimer(doze)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}
