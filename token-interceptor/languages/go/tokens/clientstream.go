package tokens

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"m2m.example/go/internal/refresh"
)

// StreamInterceptor returns the interceptor of streams. A stream is never sent again.
func (c *Client) StreamInterceptor() grpc.StreamClientInterceptor {
	return func(
		ctx context.Context, description *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer,
		options ...grpc.CallOption,
	) (grpc.ClientStream, error) {
		call, err := c.prepare(ctx, method, targetOf(conn))
		if err != nil {
			return nil, err
		}
		ready, err := c.obtain(ctx, call)
		if err != nil {
			return nil, err
		}
		if ready == anonymous {
			stream, err := open(call.ctx, description, conn, method, options...)
			return watched{ClientStream: stream, method: method, options: options}.orNil(err)
		}
		carried := &carried{header: ready.Header, secure: call.secure, optional: call.optional}
		stream, err := open(call.ctx, description, conn, method,
			append(append([]grpc.CallOption{}, options...), grpc.PerRPCCredentials(carried))...)
		if carried.plaintextRefused() {
			return nil, plaintextRefused()
		}
		return watched{stream, method, options, call.token, ready.Generation}.orNil(err)
	}
}

// watched is a stream whose end is watched. If the callee's layer ended it because its token became invalid,
// the token is renewed for the next call.
type watched struct {
	grpc.ClientStream
	method     string
	options    []grpc.CallOption
	token      *refresh.Token
	generation uint64
}

func (w watched) orNil(err error) (grpc.ClientStream, error) {
	if err != nil {
		return nil, err
	}
	return w, nil
}

// RecvMsg receives a message.
func (w watched) RecvMsg(message any) error {
	err := w.ClientStream.RecvMsg(message)
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	removeMarks(w.options)
	if w.token != nil && refusedStage(err, w.method, nil, w.ClientStream.Trailer()) != "" {
		w.token.Reject(w.generation)
	}
	return err
}

// Header returns the header of the answer, without marks.
func (w watched) Header() (metadata.MD, error) {
	header, err := w.ClientStream.Header()
	return unmarked(header), err
}

// Trailer returns the trailer of the answer, without marks.
func (w watched) Trailer() metadata.MD { return unmarked(w.ClientStream.Trailer()) }
