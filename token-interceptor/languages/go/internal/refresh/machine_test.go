package refresh

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

const lifetime = 300 * time.Second

// bench is a machine whose clocks the test controls.
type bench struct {
	machine machine
	now     Now
}

func newBench() *bench { return &bench{now: Now{time.Hour, time.Unix(1_700_000_000, 0)}} }

// holding has a token of lifetime, to be renewed at half of it.
func holding() *bench {
	b := newBench()
	b.tell(wanted{})
	b.fetched()
	return b
}

func (b *bench) tell(event event) next { return b.machine.handle(event, b.now, 0.5) }

func (b *bench) fetched() next { return b.tell(fetched{b.now, lifetime, lifetime / 2}) }

func (b *bench) pass(time time.Duration) next {
	b.now.Mono += time
	b.now.Wall = b.now.Wall.Add(time)
	return b.tell(woke{})
}

func (b *bench) suspend(time time.Duration) { b.now.Wall = b.now.Wall.Add(time) }

func (b *bench) blamed() bool {
	_, blamed := b.machine.blamed()
	return blamed
}

func expect(t *testing.T, holds bool, words ...any) {
	t.Helper()
	if !holds {
		t.Fatal(words...)
	}
}

func TestDoesNothingUntilATokenIsWanted(t *testing.T) {
	b := newBench()
	expect(t, b.tell(woke{}) == next{}, "it is not wanted")
	expect(t, b.tell(wanted{}).fetch)
	for range 1000 {
		expect(t, !b.tell(wanted{}).fetch, "one request at a time")
	}
}

func TestRenewsWhenTheServerSaysAndHoldsTheOldTokenMeanwhile(t *testing.T) {
	b := holding()
	expect(t, !b.pass(lifetime/2-time.Second).fetch)
	expect(t, b.pass(time.Second).fetch)
	expect(t, b.machine.held.generation == 1)
	b.fetched()
	expect(t, b.machine.held.generation == 2)
}

func TestRenewalTimes(t *testing.T) {
	for _, one := range []struct {
		expiresIn, refreshAfter time.Duration
		draw                    float64
		expected                time.Duration
	}{
		{100 * time.Second, 0, 0, 65 * time.Second},
		{100 * time.Second, 0, 1, 80 * time.Second},
		{lifetime, lifetime, 0, 195 * time.Second},
		{lifetime, 3 * lifetime, 0, 195 * time.Second},
		{lifetime, 100 * time.Second, 0, 100 * time.Second},
		{lifetime, 1, 0, time.Second},
		{time.Second, 1, 0, time.Second / 2},
	} {
		if after := (fetched{Now{}, one.expiresIn, one.refreshAfter}).renewAfter(one.draw); after != one.expected {
			t.Error(one, after)
		}
	}
}

func TestALifetimeBeyondEveryClockIsALongOne(t *testing.T) {
	b := newBench()
	b.tell(wanted{})
	b.tell(fetched{b.now, math.MaxInt64, math.MaxInt64})
	b.pass(30 * 24 * time.Hour)
	expect(t, b.machine.held != nil)
}

func TestHoldsTheTokenWhileTheSourceIsDownAndNeverPastItsEnd(t *testing.T) {
	b := holding()
	expect(t, b.pass(lifetime/2).fetch)
	b.tell(failed{})
	for b.now.Mono < b.machine.held.expiresAt.Mono-time.Second {
		if b.pass(time.Second / 2).fetch {
			b.tell(failed{})
		}
		expect(t, b.machine.held != nil)
	}
	b.pass(time.Second)
	expect(t, b.machine.held == nil)
	expect(t, b.blamed(), "calls fail at once")
}

func TestASuspendedMachineFindsItsTokenExpired(t *testing.T) {
	b := holding()
	expect(t, b.pass(lifetime/2).fetch)
	b.tell(failed{})
	b.suspend(2 * time.Hour)
	expect(t, b.tell(wanted{}).fetch)
	expect(t, b.machine.held == nil && !b.blamed(), "calls wait for the fresh token")
}

func TestAClockSetBackDoesNotProlongAToken(t *testing.T) {
	b := holding()
	b.suspend(-24 * time.Hour)
	expect(t, b.pass(lifetime/2).fetch)
	b.pass(lifetime / 2)
	expect(t, b.machine.held == nil)
}

func TestBacksOffFromTheBeginningOfAnAttemptThatHung(t *testing.T) {
	b := newBench()
	b.tell(wanted{})
	b.pass(35 * time.Second)
	expect(t, b.tell(failed{}).wake-b.now.Mono == pauseMin)
}

func TestLeavesTheSourceAloneForAsLongAsItAsks(t *testing.T) {
	b := newBench()
	b.tell(wanted{})
	b.tell(failed{retryAfter: 7 * time.Second})
	expect(t, !b.pass(6999*time.Millisecond).fetch)
	expect(t, !b.tell(wanted{}).fetch)
	expect(t, b.pass(time.Second).fetch)
}

func TestARefusalIsCachedAndThenAskedAboutAgain(t *testing.T) {
	b := newBench()
	b.tell(wanted{})
	todo := b.tell(failed{refused: true})
	expect(t, !b.tell(wanted{}).fetch && b.blamed())
	expect(t, b.pass(todo.wake-b.now.Mono).fetch, "wanted while it was cached")
	expect(t, !b.blamed(), "calls wait for the new answer")
	todo = b.tell(failed{refused: true})
	expect(t, !b.pass(todo.wake-b.now.Mono).fetch, "no call wanted it")
	expect(t, b.tell(wanted{}).fetch)
}

func TestASourceThatGoesOnWithExpiredTokensIsAnOutage(t *testing.T) {
	b := newBench()
	b.tell(wanted{})
	todo, asked := b.tell(failed{expired: true}), 0
	for !b.blamed() {
		pause := todo.wake - b.now.Mono
		expect(t, pause <= time.Second && asked < 100, pause, asked)
		expect(t, b.pass(pause).fetch)
		todo = b.tell(failed{expired: true})
		asked++
	}
	expect(t, asked >= 3, asked)
}

func TestARejectedTokenIsReplacedOnce(t *testing.T) {
	b := holding()
	expect(t, b.tell(rejected{1}).fetch)
	expect(t, !b.tell(rejected{1}).fetch)
	expect(t, b.machine.held != nil, "it goes on serving calls elsewhere")
	b.fetched()
	expect(t, !b.tell(rejected{1}).fetch, "old news")
}

func TestAServerThatRejectsEveryTokenCausesFewRequests(t *testing.T) {
	b, requests, generation := holding(), 0, uint64(1)
	for range 600 {
		fetch := b.tell(rejected{generation}).fetch
		if b.pass(100*time.Millisecond).fetch || fetch {
			b.fetched()
			requests++
			generation++
		}
	}
	expect(t, requests == 6, "within a minute, at 0, 1, 3, 7, 15 and 31 s:", requests)
}

func TestATokenOfACallerIsRenewedOnlyWhileUsed(t *testing.T) {
	b := newBench()
	b.machine.whileUsed = true
	b.tell(wanted{})
	b.fetched()
	expect(t, !b.pass(lifetime/2).fetch)
	b.machine.used = true
	expect(t, b.pass(time.Second).fetch)
	b.fetched()
	expect(t, !b.pass(lifetime).fetch && b.machine.held == nil)
}

func TestPauses(t *testing.T) {
	var transients, refusals []int
	for n := 1; n <= 11; n++ {
		transients = append(transients, int(transientPause(n, 1).Milliseconds()))
	}
	for n := 1; n <= 8; n++ {
		refusals = append(refusals, int(refusedPause(n, 0).Seconds()))
	}
	if text := fmt.Sprint(transients, refusals); text !=
		"[100 200 400 800 1600 3200 6400 12800 25600 30000 30000] [1 2 4 8 16 32 60 60]" {
		t.Error(text)
	}
	expect(t, transientPause(9, 0.5) == 12_800*time.Millisecond && transientPause(9, 0) == pauseMin)
	expect(t, transientPause(math.MaxInt, 1) == transientMax && refusedPause(math.MaxInt, 1) == refusedMax)
	expect(t, askedFor(7*time.Second, 0) == 7*time.Second && askedFor(7*time.Second, 1) < 8*time.Second)
	expect(t, askedFor(24*time.Hour, 0) == retryAfterMax)
}

// Any events in any order: one request at a time, none early, no expired token, no busy loop.
func TestKeepsItsPromisesUnderAnyEvents(t *testing.T) {
	for seed := range uint64(2000) {
		random := rand.New(rand.NewPCG(seed, 1))
		b := newBench()
		b.machine.whileUsed = seed%2 == 0
		var askedAt *Now
		quietUntil := b.now.Mono
		for range 200 {
			var event event = woke{}
			millis := time.Duration(random.Int64N(400_000)) * time.Millisecond
			switch random.IntN(10) {
			case 0, 1, 2:
				b.now.Mono += millis
				b.now.Wall = b.now.Wall.Add(millis)
			case 3:
				b.suspend(20 * millis)
			case 4:
				b.suspend(-20 * millis)
			case 5:
				event = wanted{}
			case 6:
				event = rejected{uint64(random.Int64N(int64(b.machine.generation) + 1))}
			case 7:
				b.machine.used = true
			default:
				if askedAt == nil {
					break
				}
				if random.IntN(2) == 0 {
					event, quietUntil = fetched{*askedAt, millis + time.Millisecond, millis / 2}, b.now.Mono
				} else {
					refused := random.IntN(2) == 0
					event, quietUntil = failed{refused: refused, retryAfter: millis}, b.now.Mono+max(pauseMin, min(millis, retryAfterMax))
				}
				askedAt = nil
			}
			had := b.machine.held
			todo := b.machine.handle(event, b.now, random.Float64())
			if had != nil && b.now.Mono < had.expiresAt.Mono && b.machine.held == nil {
				quietUntil = b.now.Mono // suspended
			}
			if todo.fetch {
				expect(t, askedAt == nil, seed, "two at once")
				expect(t, b.now.Mono >= quietUntil, seed, "before its time")
				now := b.now
				askedAt = &now
			}
			if held := b.machine.held; held != nil {
				expect(t, !b.now.hasReached(held.expiresAt), seed, "past its end")
				expect(t, todo.hasWake && todo.wake <= held.expiresAt.Mono, seed, "sleeps through its end")
			}
			expect(t, !todo.hasWake || todo.wake > b.now.Mono, seed, "a busy loop")
		}
	}
}
