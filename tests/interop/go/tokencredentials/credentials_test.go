package tokencredentials

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	tokenv1 "token.example/interop/gen/m2m/token/v1"
)

// A fake issuer whose answers the test releases, and a stopped clock.
type world struct {
	mutex   sync.Mutex
	now     instant
	asked   chan struct{}
	answers chan error
	jitter  float64
	total   int // requests so far
	issued  int
}

func start() (*world, *Credentials) {
	w := &world{
		now:     instant{0, time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)},
		asked:   make(chan struct{}, 1000),
		answers: make(chan error),
		jitter:  1,
	}
	return w, newCredentials(w.fetch, w.clock, func() float64 { return w.jitter })
}

func (w *world) fetch(context.Context) (*tokenv1.Token, error) {
	w.mutex.Lock()
	w.total++
	w.mutex.Unlock()
	w.asked <- struct{}{}
	if err := <-w.answers; err != nil {
		return nil, err
	}
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.issued++
	return &tokenv1.Token{
		Value:        fmt.Sprintf("token-%d", w.issued),
		ExpiresIn:    durationpb.New(300 * time.Second),
		RefreshAfter: durationpb.New(240 * time.Second),
	}, nil
}

func (w *world) clock() instant {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return w.now
}

func (w *world) pass(d time.Duration) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.now = w.now.add(d)
}

func (w *world) suspend(d time.Duration) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.now.wall = w.now.wall.Add(d)
}

// Every request at the issuer has been answered.
func (w *world) assertIdle(t *testing.T) {
	t.Helper()
	if len(w.asked) != 0 {
		t.Fatalf("%d unexpected requests to the issuer", len(w.asked))
	}
}

// Waits for the next request, answers it, and waits for its outcome.
func (w *world) answer(c *Credentials, err error) {
	<-w.asked
	c.mutex.Lock()
	flight := c.flight
	c.mutex.Unlock()
	w.answers <- err
	<-flight.done
}

func (w *world) firstToken(t *testing.T, c *Credentials) {
	t.Helper()
	go w.answer(c, nil)
	expect(t, c, "Bearer token-1")
}

func expect(t *testing.T, c *Credentials, want string) {
	t.Helper()
	header, err := c.header(context.Background())
	if err != nil || header["authorization"] != want {
		t.Fatalf("got %v, %v; want %s", header, err, want)
	}
}

func expectFailure(t *testing.T, c *Credentials, code codes.Code, reason string) {
	t.Helper()
	header, err := c.header(context.Background())
	if status.Code(err) != code || !strings.Contains(err.Error(), reason) {
		t.Fatalf("got %v, %v; want %s %s", header, err, code, reason)
	}
}

func failure(code codes.Code, details ...protoadapt.MessageV1) error {
	answer, err := status.New(code, "words of the issuer").WithDetails(details...)
	if err != nil {
		panic(err)
	}
	return answer.Err()
}

func TestManyFirstCallsShareOneRequest(t *testing.T) {
	w, c := start()
	var calls sync.WaitGroup
	for range 100 {
		calls.Add(1)
		go func() { defer calls.Done(); expect(t, c, "Bearer token-1") }()
	}
	w.answer(c, nil)
	calls.Wait()
	w.assertIdle(t)
}

func TestManyFirstCallsShareOneFailure(t *testing.T) {
	w, c := start()
	var calls sync.WaitGroup
	for range 100 {
		calls.Add(1)
		go func() { defer calls.Done(); expectFailure(t, c, codes.Unavailable, "Unavailable") }()
	}
	w.answer(c, failure(codes.Unavailable))
	calls.Wait()
	w.assertIdle(t)
}

func TestRenewsInTheBackgroundWithoutDelayingACall(t *testing.T) {
	w, c := start()
	w.firstToken(t, c)
	w.pass(239 * time.Second)
	expect(t, c, "Bearer token-1")
	w.assertIdle(t)
	w.pass(time.Second)
	for range 100 {
		expect(t, c, "Bearer token-1") // the issuer has not answered
	}
	w.answer(c, nil)
	expect(t, c, "Bearer token-2")
	w.assertIdle(t)
}

func TestServesATokenUntilItExpiresWhileTheIssuerIsDown(t *testing.T) {
	w, c := start()
	w.firstToken(t, c)
	w.pass(240 * time.Second)
	expect(t, c, "Bearer token-1")
	w.answer(c, failure(codes.Unavailable))
	w.pass(59 * time.Second)
	expect(t, c, "Bearer token-1")
	w.answer(c, failure(codes.Unavailable))
	w.pass(time.Second)
	go w.answer(c, failure(codes.Unavailable))
	expectFailure(t, c, codes.Unavailable, "no token")
}

func TestNeverUsesATokenPastItsExpiryAfterASuspend(t *testing.T) {
	w, c := start()
	w.firstToken(t, c)
	w.suspend(2 * time.Hour)
	go w.answer(c, nil)
	expect(t, c, "Bearer token-2")
}

func TestNeverUsesATokenPastItsExpiryWhenTheClockIsSetBack(t *testing.T) {
	w, c := start()
	w.firstToken(t, c)
	w.suspend(-24 * time.Hour)
	w.pass(300 * time.Second)
	go w.answer(c, nil)
	expect(t, c, "Bearer token-2")
}

func TestAFailureIsRememberedForTheBackoffAndNoLonger(t *testing.T) {
	w, c := start()
	for _, backoff := range []time.Duration{100, 200, 400} {
		go w.answer(c, failure(codes.Unavailable))
		expectFailure(t, c, codes.Unavailable, "Unavailable")
		w.pass(backoff*time.Millisecond - time.Millisecond)
		expectFailure(t, c, codes.Unavailable, "Unavailable")
		w.assertIdle(t)
		w.pass(time.Millisecond)
	}
	w.firstToken(t, c)
}

func TestBackoffEndsAtThirtySeconds(t *testing.T) {
	w, c := start()
	for range 70 {
		w.pass(30 * time.Second)
		go w.answer(c, failure(codes.Unavailable))
		expectFailure(t, c, codes.Unavailable, "Unavailable")
	}
	if w.total != 70 {
		t.Fatal("requests were held back for longer:", w.total)
	}
}

func TestBackoffBeginsAnewAfterAToken(t *testing.T) {
	w, c := start()
	for range 5 {
		w.pass(30 * time.Second)
		go w.answer(c, failure(codes.Unavailable))
		expectFailure(t, c, codes.Unavailable, "Unavailable")
	}
	w.pass(30 * time.Second)
	w.firstToken(t, c)
	w.pass(300 * time.Second)
	go w.answer(c, failure(codes.Unavailable))
	expectFailure(t, c, codes.Unavailable, "Unavailable")
	w.pass(100 * time.Millisecond)
	go w.answer(c, nil)
	expect(t, c, "Bearer token-2")
}

func TestATokenThatExpiredOnItsWayIsNotUsed(t *testing.T) {
	w, c := start()
	go func() {
		<-w.asked
		w.pass(301 * time.Second)
		w.answers <- nil
	}()
	expectFailure(t, c, codes.Unavailable, "expired on its way")
}

func TestHonoursRetryInfo(t *testing.T) {
	w, c := start()
	go w.answer(c, failure(codes.ResourceExhausted,
		&errdetails.RetryInfo{RetryDelay: durationpb.New(7 * time.Second)}))
	expectFailure(t, c, codes.Unavailable, "ResourceExhausted")
	w.pass(7*time.Second - time.Millisecond)
	expectFailure(t, c, codes.Unavailable, "ResourceExhausted")
	w.assertIdle(t)
	w.pass(time.Millisecond)
	w.firstToken(t, c)
}

func TestAWrongSecretIsNamedAndRememberedForASecond(t *testing.T) {
	w, c := start()
	w.jitter = 0
	go w.answer(c, failure(codes.Unauthenticated,
		&errdetails.ErrorInfo{Domain: "m2m.token.v1", Reason: "CLIENT_AUTHENTICATION_FAILED"}))
	expectFailure(t, c, codes.Unauthenticated, "CLIENT_AUTHENTICATION_FAILED")
	w.pass(999 * time.Millisecond)
	expectFailure(t, c, codes.Unauthenticated, "CLIENT_AUTHENTICATION_FAILED")
	w.assertIdle(t)
	w.pass(time.Millisecond)
	w.firstToken(t, c)
}

func TestTheIssuersWordsAreNotPassedOn(t *testing.T) {
	w, c := start()
	go w.answer(c, errors.New("dial tcp: secret internals"))
	_, err := c.header(context.Background())
	if strings.Contains(err.Error(), "internals") {
		t.Fatal(err)
	}
}

func TestACallThatGivesUpDoesNotEndTheRequest(t *testing.T) {
	w, c := start()
	ctx, cancel := context.WithCancel(context.Background())
	gaveUp := make(chan error)
	go func() { _, err := c.header(ctx); gaveUp <- err }()
	<-w.asked
	cancel()
	if err := <-gaveUp; status.Code(err) != codes.Canceled {
		t.Fatal(err)
	}
	go func() { w.answers <- nil }()
	expect(t, c, "Bearer token-1")
	w.assertIdle(t)
}

func TestRefusesAPlaintextConnection(t *testing.T) {
	w, c := start()
	if _, err := grpc.NewClient("localhost:1",
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithPerRPCCredentials(c)); err == nil {
		t.Fatal("a plaintext channel took the credentials")
	}
	if _, err := c.GetRequestMetadata(context.Background()); status.Code(err) != codes.Unauthenticated {
		t.Fatal(err)
	}
	w.assertIdle(t)
}

func TestPrintsNeitherSecretNorToken(t *testing.T) {
	w, c := start()
	w.firstToken(t, c)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if printed := fmt.Sprintf(verb, c); strings.Contains(printed, "token-1") {
			t.Fatal(printed)
		}
	}
}
