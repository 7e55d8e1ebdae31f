package main

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	conformancev1 "m2m.example/go/m2m/conformance/v1"
	"m2m.example/go/source"
	"m2m.example/go/tokens"
	"m2m.example/go/verify"
)

// pending is the code of a call that has no answer when the run ends.
const pending = -1

// clientCase runs the calls in a bubble: time passes only while every goroutine waits.
func clientCase(t *testing.T, one *conformancev1.ClientCase) (result *conformancev1.ClientResult, err error) {
	synctest.Test(t, func(t *testing.T) { result, err = runClient(t.Context(), one) })
	return result, err
}

func runClient(ctx context.Context, one *conformancev1.ClientCase) (*conformancev1.ClientResult, error) {
	files, err := filesOf(one.GetDescriptors())
	if err != nil {
		return nil, err
	}
	run := &run{began: time.Now(), wall: one.GetStart().AsTime(), answers: one.GetAnswers()}
	draw := func() float64 { return one.GetDraw() }
	client, err := tokens.NewClient(run, tokens.CalledDescriptors(files), tokens.Sharing(one.GetSharing()...),
		tokens.Clock(run.now, draw), tokens.AllowPlaintext())
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	var calls sync.WaitGroup
	jumps := one.GetJumps()
	for _, call := range one.GetCalls() {
		for len(jumps) > 0 && jumps[0].GetAt().AsDuration() <= call.GetAt().AsDuration() {
			run.jump(jumps[0])
			jumps = jumps[1:]
		}
		run.sleepUntil(call.GetAt().AsDuration())
		result := &conformancev1.CallResult{Code: pending}
		run.results = append(run.results, result)
		calls.Go(func() { run.call(ctx, client, call, result) })
		synctest.Wait()
	}
	for _, jump := range jumps {
		if jump.GetAt().AsDuration() <= one.GetUntil().AsDuration() {
			run.jump(jump)
		}
	}
	run.sleepUntil(one.GetUntil().AsDuration())
	result := run.report()
	cancel()
	client.Close()
	calls.Wait()
	return result, nil
}

// run is one run of a client. It is the source of the tokens too: the scripted issuer.
type run struct {
	began   time.Time
	answers []*conformancev1.IssuerAnswer

	mutex    sync.Mutex
	wall     time.Time // at the beginning, jumps included
	requests []*conformancev1.TokenRequest
	results  []*conformancev1.CallResult
}

func (r *run) elapsed() time.Duration { return time.Since(r.began) }

func (r *run) now() time.Time {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return r.wall.Add(r.elapsed())
}

func (r *run) jump(jump *conformancev1.ClockJump) {
	r.sleepUntil(jump.GetAt().AsDuration())
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.wall = r.wall.Add(jump.GetBy().AsDuration())
}

// sleepUntil returns when everything that is due by then has happened.
func (r *run) sleepUntil(at time.Duration) {
	time.Sleep(at - r.elapsed())
	synctest.Wait()
}

func (r *run) report() *conformancev1.ClientResult {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	result := &conformancev1.ClientResult{Requests: slices.Clone(r.requests)}
	for _, call := range r.results {
		result.Calls = append(result.Calls, &conformancev1.CallResult{
			Attempts: slices.Clone(call.GetAttempts()), At: call.GetAt(), Code: call.GetCode(), Reason: call.GetReason(),
			Marks: call.GetMarks(),
		})
	}
	return result
}

// Fetch is the token endpoint.
func (r *run) Fetch(ctx context.Context, request source.Request) (source.Issued, error) {
	r.mutex.Lock()
	number := len(r.requests)
	r.requests = append(r.requests, &conformancev1.TokenRequest{
		At: durationpb.New(r.elapsed()), Audience: request.Audience, Scopes: request.Scopes,
	})
	r.mutex.Unlock()
	if number >= len(r.answers) {
		<-ctx.Done()
		return source.Issued{}, source.Unavailable(ctx.Err())
	}
	answer := r.answers[number]
	if delay := answer.GetDelay().AsDuration(); delay > 0 {
		select {
		case <-ctx.Done():
			return source.Issued{}, source.Unavailable(ctx.Err())
		case <-time.After(delay):
		}
	}
	if answer.GetConnectionFailed() {
		return source.Issued{}, source.Unavailable(errors.New("the connection failed"))
	}
	header := http.Header{}
	if answer.GetRetryAfter() != "" {
		header.Set("Retry-After", answer.GetRetryAfter())
	}
	return source.Answer{Status: int(answer.GetStatus()), Header: header, Body: answer.GetBody()}.Read(r.now())
}

// call makes one call of the program.
func (r *run) call(ctx context.Context, client *tokens.Client, call *conformancev1.Call, result *conformancev1.CallResult) {
	if call.GetDeadline() != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, call.GetDeadline().AsDuration())
		defer cancel()
	}
	answers := call.GetAnswers()
	invoke := func(ctx context.Context, _ string, _, _ any, _ *grpc.ClientConn, options ...grpc.CallOption) error {
		r.mutex.Lock()
		result.Attempts = append(result.Attempts, tokenIn(ctx, options))
		r.mutex.Unlock()
		if len(answers) == 0 {
			return nil
		}
		answer := answers[0]
		answers = answers[1:]
		for _, option := range options {
			if trailer, ok := option.(grpc.TrailerCallOption); ok {
				*trailer.TrailerAddr = metadata.MD{markKey: answer.GetMarks()}
			}
		}
		return statusOf(answer)
	}
	var trailer metadata.MD
	err := client.UnaryInterceptor()(ctx, call.GetMethod(), nil, nil, nil, invoke, grpc.Trailer(&trailer))
	r.mutex.Lock()
	defer r.mutex.Unlock()
	result.At, result.Code = durationpb.New(r.elapsed()), int32(status.Code(err))
	result.Marks = trailer.Get(markKey)
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			result.Reason = info.GetReason()
		}
	}
}

// tokenIn returns the token that the call carries.
func tokenIn(ctx context.Context, options []grpc.CallOption) string {
	for _, option := range options {
		if credentials, ok := option.(grpc.PerRPCCredsCallOption); ok {
			header, _ := credentials.Creds.GetRequestMetadata(ctx)
			return strings.TrimPrefix(header["authorization"], "Bearer ")
		}
	}
	return ""
}

func statusOf(answer *conformancev1.ServerAnswer) error {
	plain := status.New(codes.Code(answer.GetCode()), "scripted")
	if answer.GetCode() == 0 || answer.GetReason() == "" {
		return plain.Err()
	}
	detailed, err := plain.WithDetails(&errdetails.ErrorInfo{Reason: answer.GetReason(), Domain: verify.Domain})
	if err != nil {
		return err
	}
	return detailed.Err()
}
