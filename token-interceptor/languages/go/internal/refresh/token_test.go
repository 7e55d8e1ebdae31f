package refresh

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"m2m.example/go/source"
)

// scripted is a source that counts its requests.
type scripted struct {
	requests atomic.Int64
	answer   func(number int64) (source.Issued, error)
}

func (s *scripted) Fetch(ctx context.Context, _ source.Request) (source.Issued, error) {
	number := s.requests.Add(1)
	select {
	case <-ctx.Done():
		return source.Issued{}, source.Unavailable(ctx.Err())
	case <-time.After(100 * time.Millisecond):
		return s.answer(number)
	}
}

func quiet() Environment {
	env := System()
	env.Log = slog.New(slog.DiscardHandler)
	env.Draw = func() float64 { return 0.5 }
	return env
}

func TestTenThousandCallsAreOneRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from := &scripted{answer: func(int64) (source.Issued, error) {
			return source.Issued{Token: "t", ExpiresIn: time.Hour}, nil
		}}
		token := New(from, source.Request{}, false, quiet())
		defer token.Close()
		var calls sync.WaitGroup
		for range 10_000 {
			calls.Go(func() {
				if ready, err := token.Get(t.Context()); err != nil || ready.Header != "Bearer t" {
					t.Error(ready, err)
				}
			})
		}
		calls.Wait()
		if requests := from.requests.Load(); requests != 1 {
			t.Error(requests)
		}
	})
}

func TestWaitingCallsShareAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from := &scripted{answer: func(int64) (source.Issued, error) {
			return source.Issued{}, source.Refuse(source.RefusedScope, errors.New("no"))
		}}
		token := New(from, source.Request{}, false, quiet())
		defer token.Close()
		var calls sync.WaitGroup
		for range 100 {
			calls.Go(func() {
				_, err := token.Get(t.Context())
				if failure := (*Failure)(nil); !errors.As(err, &failure) || failure.Source.Refusal != source.RefusedScope {
					t.Error(err)
				}
			})
		}
		calls.Wait()
		if requests := from.requests.Load(); requests != 1 {
			t.Error(requests)
		}
	})
}

func TestACancelledCallCancelsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from := &scripted{answer: func(int64) (source.Issued, error) {
			return source.Issued{Token: "t", ExpiresIn: time.Hour}, nil
		}}
		token := New(from, source.Request{}, false, quiet())
		defer token.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if _, err := token.Get(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if _, ok := token.Ready(); !ok || from.requests.Load() != 1 {
			t.Fatal("the request was given up")
		}
	})
}

func TestATokenIsRenewedInTheBackgroundForADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from := &scripted{answer: func(int64) (source.Issued, error) {
			return source.Issued{Token: "t", ExpiresIn: 5 * time.Minute}, nil
		}}
		token := New(from, source.Request{}, false, quiet())
		if _, err := token.Get(t.Context()); err != nil {
			t.Fatal(err)
		}
		for range 24 * 60 {
			time.Sleep(time.Minute)
			if _, ok := token.Ready(); !ok {
				t.Fatal("a call would wait")
			}
		}
		if requests := from.requests.Load(); requests < 390 || requests > 410 {
			t.Error(requests)
		}
		token.Close()
		if _, err := token.Get(t.Context()); err == nil {
			t.Error("it is closed")
		}
		synctest.Wait()
	})
}

func TestARefusedRenewalIsTriedAgainForTheNextCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from := &scripted{answer: func(number int64) (source.Issued, error) {
			if number == 2 {
				return source.Issued{}, source.Refuse(source.RefusedClient, errors.New("no"))
			}
			return source.Issued{Token: "t", ExpiresIn: 100 * time.Second}, nil
		}}
		token := New(from, source.Request{}, false, quiet())
		defer token.Close()
		_, _ = token.Get(t.Context())
		for range 90 {
			time.Sleep(time.Second)
			if _, ok := token.Ready(); !ok {
				t.Fatal("the token in hand is valid")
			}
		}
		if requests := from.requests.Load(); requests != 3 {
			t.Error(requests)
		}
	})
}
