package tokens

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"m2m.example/go/verify"
)

// guardedStream is the stream of a handler. If it has a caller, no message passes in either direction once
// the caller's token has ended.
type guardedStream struct {
	grpc.ServerStream
	ctx    context.Context
	caller *Caller // nil: the stream does not end with a token

	mutex sync.Mutex
	began bool
	over  bool // the stream is being answered, so no message is sent
	told  atomic.Pointer[verify.Refusal]
}

func (g *guardedStream) Context() context.Context { return g.ctx }

func (g *guardedStream) SetHeader(md metadata.MD) error {
	return g.ServerStream.SetHeader(unmarked(md))
}

func (g *guardedStream) SendHeader(md metadata.MD) error {
	return g.ServerStream.SendHeader(unmarked(md))
}

func (g *guardedStream) SetTrailer(md metadata.MD) { g.ServerStream.SetTrailer(unmarked(md)) }

func (g *guardedStream) SendMsg(message any) error {
	if g.caller == nil {
		return g.ServerStream.SendMsg(message)
	}
	g.mutex.Lock()
	over, first := g.over, !g.began
	g.began = true
	g.mutex.Unlock()
	if over {
		return io.EOF
	}
	// The first message always passes: a slow answer is not a stream.
	if !first {
		if refusal := g.verdict(); refusal != nil {
			return StatusOf(refusal).Err()
		}
	}
	return g.ServerStream.SendMsg(message)
}

func (g *guardedStream) RecvMsg(message any) error {
	if g.caller == nil {
		return g.ServerStream.RecvMsg(message)
	}
	if err := g.ServerStream.RecvMsg(message); err != nil {
		return err
	}
	// Checked after the wait: a message that comes after the verdict does not pass.
	if refusal := g.verdict(); refusal != nil {
		return StatusOf(refusal).Err()
	}
	return nil
}

func (g *guardedStream) verdict() *verify.Refusal {
	_, err := g.caller.Check()
	refusal := (*verify.Refusal)(nil)
	if errors.As(err, &refusal) {
		g.told.Store(refusal)
	}
	return refusal
}

// handle runs the handler until it returns or the token has ended. A handler may wait for a message of the
// client for ever, so it runs beside. gRPC cancels its context once the call is answered.
func (g *guardedStream) handle(handler func() error) (*verify.Refusal, error) {
	ctx, stop := context.WithCancel(g.ctx)
	defer stop()
	type outcome struct {
		err      error
		panicked any
		stack    []byte
	}
	done := make(chan outcome, 1)
	go func() {
		var result outcome
		defer func() {
			if result.panicked = recover(); result.panicked != nil {
				result.stack = debug.Stack()
			}
			done <- result
		}()
		result.err = handler()
	}()
	ended := make(chan *verify.Refusal, 1)
	go func() { ended <- g.caller.Ended(ctx) }()
	finished := func(result outcome) (*verify.Refusal, error) {
		if result.panicked != nil {
			// In the goroutine of the call, where the program's interceptors recover.
			panic(fmt.Sprintf("%v\n\n%s", result.panicked, result.stack))
		}
		// A handler that fails because of the verdict passes on its error, which has no mark.
		if told := g.told.Load(); told != nil && result.err != nil {
			return told, nil
		}
		return nil, result.err
	}
	select {
	case result := <-done:
		return finished(result)
	case refusal := <-ended:
		if refusal == nil { // the call was cancelled
			return finished(<-done)
		}
		g.mutex.Lock()
		g.over = true
		g.mutex.Unlock()
		return refusal, nil
	}
}
