package refresh

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"m2m.example/go/source"
)

// attemptMax is the time after which an attempt has failed. It outlasts a stall of 30 s, as a retry would
// only lengthen the issuer's queue.
const attemptMax = 30*time.Second + 500*time.Millisecond

// Environment is what a token takes from its surroundings.
type Environment struct {
	// Wall is the time of day.
	Wall func() time.Time
	// Draw returns a random number, uniform in 0..1.
	Draw func() float64
	// Log gets what an operator needs to know.
	Log *slog.Logger
}

// System returns the machine's own environment.
func System() Environment {
	// Without the monotonic reading, which would win in comparisons.
	return Environment{func() time.Time { return time.Now().Round(0) }, rand.Float64, slog.Default()}
}

// Ready is a token in use. Its generation tells if a rejection of it is news.
type Ready struct {
	Header     string // the value of authorization
	Generation uint64
}

// Failure is the error of a call that gets no token.
type Failure struct {
	// Request is the request.
	Request source.Request
	// Source is the source's error, which all waiting calls share.
	Source *source.Error
	// RetryIn is the time until the next request.
	RetryIn time.Duration
}

func (f *Failure) Error() string {
	return "no access token for " + f.Request.String() + ": " + f.Source.Error()
}

// Unwrap returns the source's error.
func (f *Failure) Unwrap() error { return f.Source }

// Token is one token, renewed until Close. It is safe for concurrent use.
type Token struct {
	source  source.Source
	request source.Request
	env     Environment
	began   time.Time
	current atomic.Pointer[current] // what calls read without a lock

	mutex   sync.Mutex
	machine machine
	changed chan struct{} // closed with the next change
	timer   *time.Timer
	cancel  context.CancelFunc // of the attempt in flight
	header  string
	failure *source.Error
	closed  bool
}

// current is the token for calls, and its times by both clocks.
type current struct {
	Ready
	renewAt, expiresAt Now
	used, nudged       atomic.Bool
}

// New returns a token. It is requested at first use. whileUsed renews it only while calls use it.
func New(from source.Source, request source.Request, whileUsed bool, env Environment) *Token {
	return &Token{
		source: from, request: request.Normal(), env: env, began: time.Now(),
		machine: machine{whileUsed: whileUsed}, changed: make(chan struct{}),
	}
}

// Request returns the request.
func (t *Token) Request() source.Request { return t.request }

func (t *Token) now() Now { return Now{time.Since(t.began), t.env.Wall()} }

// Ready returns the current token, while both clocks say that it is valid. It never waits.
func (t *Token) Ready() (Ready, bool) {
	held := t.current.Load()
	if held == nil {
		return Ready{}, false
	}
	now := t.now()
	if now.hasReached(held.expiresAt) {
		return Ready{}, false
	}
	if !held.used.Load() {
		held.used.Store(true)
	}
	// The timer stands still while the machine is suspended; the wall clock does not.
	if now.hasReached(held.renewAt) && !held.nudged.Load() && !held.nudged.Swap(true) {
		t.tell(wanted{})
	}
	return held.Ready, true
}

// Get returns the token. It waits only while there is none and the source has not failed. The error is a
// *Failure, or that of ctx.
func (t *Token) Get(ctx context.Context) (Ready, error) {
	if ready, ok := t.Ready(); ok {
		return ready, nil
	}
	t.tell(wanted{})
	for {
		t.mutex.Lock()
		changed := t.changed
		failure := t.blamed()
		t.mutex.Unlock()
		if ready, ok := t.Ready(); ok {
			return ready, nil
		}
		if failure != nil {
			return Ready{}, failure
		}
		select {
		case <-ctx.Done():
			return Ready{}, ctx.Err()
		case <-changed:
		}
	}
}

// blamed returns the failure that a call without a token gets, or nil if the call waits.
func (t *Token) blamed() error {
	if t.closed {
		return &Failure{t.request, source.Unavailable(errors.New("the client is closed")), 0}
	}
	until, blamed := t.machine.blamed()
	if !blamed || t.failure == nil {
		return nil
	}
	return &Failure{t.request, t.failure, max(until-t.now().Mono, 0)}
}

// Reject replaces the token in the background: a server refused this generation.
func (t *Token) Reject(generation uint64) { t.tell(rejected{generation}) }

// Replacement returns a token newer than the refused one, if one is to arrive now.
func (t *Token) Replacement(ctx context.Context, refused uint64) (Ready, bool) {
	t.Reject(refused)
	for {
		t.mutex.Lock()
		changed := t.changed
		_, blamed := t.machine.blamed()
		coming := t.machine.inFlight != nil && !blamed && !t.closed
		t.mutex.Unlock()
		if ready, ok := t.Ready(); ok && ready.Generation > refused {
			return ready, true
		}
		if !coming {
			return Ready{}, false
		}
		select {
		case <-ctx.Done():
			return Ready{}, false
		case <-changed:
		}
	}
}

// Close ends renewal.
func (t *Token) Close() {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if t.closed {
		return
	}
	t.closed = true
	if t.timer != nil {
		t.timer.Stop()
	}
	if t.cancel != nil {
		t.cancel()
	}
	t.current.Store(nil)
	t.announce()
}

func (t *Token) tell(event event) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.handle(event)
}

// handle passes an event to the machine and does what it says. The mutex is held.
func (t *Token) handle(event event) {
	if t.closed {
		return
	}
	before := t.current.Load()
	t.machine.used = t.machine.used || (before != nil && before.used.Load())
	now := t.now()
	todo := t.machine.handle(event, now, t.env.Draw())
	if t.timer != nil {
		t.timer.Stop()
	}
	if todo.hasWake {
		t.timer = time.AfterFunc(max(todo.wake-now.Mono, 0), func() { t.tell(woke{}) })
	}
	if todo.fetch {
		ctx, cancel := context.WithTimeout(context.Background(), attemptMax)
		t.cancel = cancel
		go func() {
			defer cancel()
			t.attempt(ctx, now)
		}()
	}
	t.publish(before)
	if _, ofCall := event.(wanted); !ofCall && before != nil {
		before.nudged.Store(false) // a refused renewal is tried again for the next call
	}
	t.announce()
}

func (t *Token) publish(before *current) {
	held := t.machine.held
	switch {
	case held == nil:
		t.current.Store(nil)
	case before == nil || before.Generation != held.generation:
		t.current.Store(&current{
			Ready: Ready{t.header, held.generation}, renewAt: held.renewAt, expiresAt: held.expiresAt,
		})
	}
}

// announce wakes the waiting calls.
func (t *Token) announce() {
	close(t.changed)
	t.changed = make(chan struct{})
}

// attempt makes one request to the source. It never holds the mutex while it waits.
func (t *Token) attempt(ctx context.Context, askedAt Now) {
	issued, err := t.source.Fetch(ctx, t.request)
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if t.closed {
		return
	}
	if t.request.MaxAge > 0 {
		issued.ExpiresIn = min(issued.ExpiresIn, t.request.MaxAge)
	}
	expired := err == nil && t.now().hasReached(askedAt.plus(issued.ExpiresIn))
	if expired {
		err = &source.Error{Cause: source.CauseExpiredOnArrival, Err: errors.New("the access token had expired when it arrived")}
	}
	if err != nil {
		t.failure = source.ErrorOf(err)
		refused := t.failure.Refusal != source.NotRefused
		t.handle(failed{refused, expired, t.failure.RetryAfter})
		if t.machine.held == nil || !expired { // else the source caches the current token
			t.env.Log.Warn("no access token", "request", t.request.String(), "cause", t.failure.Cause,
				"error", t.failure.Error(), "token_in_hand", t.machine.held != nil)
		}
		return
	}
	t.failure, t.header = nil, "Bearer "+string(issued.Token)
	t.handle(fetched{askedAt, issued.ExpiresIn, issued.RefreshAfter})
}
