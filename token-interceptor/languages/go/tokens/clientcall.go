package tokens

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"m2m.example/go/internal/refresh"
	"m2m.example/go/source"
	"m2m.example/go/verify"
)

// carried is the token of one call. It attaches itself as call credentials, so that gRPC says what connection
// the call goes over.
type carried struct {
	header   string
	secure   bool // only over TLS
	optional bool // the call goes without the token where the token must not go
	mutex    sync.Mutex
	refused  bool
}

// RequireTransportSecurity is false, as plaintext to this machine is allowed: GetRequestMetadata decides.
func (*carried) RequireTransportSecurity() bool { return false }

// GetRequestMetadata returns the header. It fails on a plaintext connection to another machine.
func (c *carried) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	if c.secure {
		info, _ := credentials.RequestInfoFromContext(ctx)
		if err := checkSecure(info); err != nil {
			if c.optional {
				return nil, nil
			}
			c.mutex.Lock()
			c.refused = true
			c.mutex.Unlock()
			return nil, err
		}
	}
	return map[string]string{"authorization": c.header}, nil
}

func checkSecure(info credentials.RequestInfo) error {
	if info.AuthInfo == nil || credentials.CheckSecurityLevel(info.AuthInfo, credentials.PrivacyAndIntegrity) != nil {
		return status.Error(codes.Unauthenticated, "no token is sent in plaintext to another machine")
	}
	return nil
}

// Format keeps the token out of every log.
func (*carried) Format(state fmt.State, _ rune) { _, _ = state.Write([]byte("tokens.carried")) }

// plaintextRefused returns true if a connection was refused as plaintext.
func (c *carried) plaintextRefused() bool {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.refused
}

// prepared is a call that is ready to be sent.
type prepared struct {
	ctx        context.Context
	token      *refresh.Token // nil: the call carries no token
	optional   bool           // the call goes without a token where there is none
	replayable bool
	secure     bool
}

// prepare finds the token of a call, and treats an authorization that the call brings.
func (c *Client) prepare(ctx context.Context, path, target string) (prepared, error) {
	call := prepared{ctx: ctx, secure: c.isSecure(target)}
	route := c.routeOf(path)
	caller, hasCaller := CallerFrom(ctx)
	if outgoing, _ := metadata.FromOutgoingContext(ctx); len(outgoing.Get("authorization")) > 0 {
		switch {
		case hasCaller && brings(outgoing, caller):
			// That token was issued for this program, and the next service could use it here.
			clean := outgoing.Copy()
			clean.Delete("authorization")
			call.ctx = metadata.NewOutgoingContext(ctx, clean)
		case (c.settings.onBehalf || hasCaller) && !c.settings.keepAuthorization:
			return call, authorizationRefused()
		default:
			return call, nil
		}
	}
	call.optional, call.replayable = route.optional, route.replayable
	if route.request == nil || route.token != nil {
		call.token = route.token
		return call, nil
	}
	request := *route.request
	if !hasCaller {
		if route.optional {
			return call, nil
		}
		return call, noCaller()
	}
	request.Subject = source.Secret(caller.Bearer())
	call.token = c.tokenOf(request)
	return call, nil
}

// brings returns true if md has the caller's token.
func brings(md metadata.MD, caller *Caller) bool {
	for _, value := range md.Get("authorization") {
		if token, err := verify.Bearer([]string{value}); err == nil && token == caller.Bearer() {
			return true
		}
	}
	return false
}

// anonymous is what obtain returns for a call that goes without a token.
var anonymous = refresh.Ready{}

// obtain waits for the token, up to the call's deadline. It returns anonymous for a call that carries none.
func (c *Client) obtain(ctx context.Context, call prepared) (refresh.Ready, error) {
	if call.token == nil {
		return anonymous, nil
	}
	if ready, ok := call.token.Ready(); ok {
		return ready, nil
	}
	deadline, own := c.deadline(ctx, call.optional)
	within, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	ready, err := call.token.Get(within)
	failure := (*refresh.Failure)(nil)
	failed := errors.As(err, &failure)
	switch {
	case err == nil:
		return ready, nil
	case errors.Is(ctx.Err(), context.Canceled):
		return refresh.Ready{}, status.FromContextError(ctx.Err()).Err()
	case own && !failed:
		return refresh.Ready{}, deadlineExceeded()
	case call.optional:
		return anonymous, nil
	case failed:
		return refresh.Ready{}, noToken(failure)
	default:
		return refresh.Ready{}, tooSlow()
	}
}

// UnaryInterceptor returns the interceptor of unary calls.
func (c *Client) UnaryInterceptor() grpc.UnaryClientInterceptor {
	return func(
		ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker,
		options ...grpc.CallOption,
	) error {
		defer removeMarks(options)
		call, err := c.prepare(ctx, method, targetOf(conn))
		if err != nil {
			return err
		}
		ready, err := c.obtain(ctx, call)
		if err != nil {
			return err
		}
		if ready == anonymous {
			return invoke(call.ctx, method, request, reply, conn, options...)
		}
		attempt := func(ready refresh.Ready) (stage string, err error) {
			carried := &carried{header: ready.Header, secure: call.secure, optional: call.optional}
			var header, trailer metadata.MD
			all := append([]grpc.CallOption{grpc.Header(&header), grpc.Trailer(&trailer)}, options...)
			err = invoke(call.ctx, method, request, reply, conn, append(all, grpc.PerRPCCredentials(carried))...)
			if carried.plaintextRefused() {
				return "", plaintextRefused()
			}
			return refusedStage(err, method, header, trailer), err
		}
		stage, err := attempt(ready)
		if stage == "" {
			return err
		}
		if stage != beforeHandler || !call.replayable {
			call.token.Reject(ready.Generation)
			return err
		}
		newer, ok := c.replacement(ctx, call, ready)
		if !ok {
			return err
		}
		if stage, err = attempt(newer); stage != "" {
			call.token.Reject(newer.Generation)
		}
		return err
	}
}

// replacement returns a token other than the refused one, if one arrives in time.
func (c *Client) replacement(ctx context.Context, call prepared, refused refresh.Ready) (refresh.Ready, bool) {
	deadline, _ := c.deadline(ctx, call.optional)
	within, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	newer, ok := call.token.Replacement(within, refused.Generation)
	// A source that returns the same token again has no better one.
	return newer, ok && newer.Header != refused.Header && ctx.Err() == nil
}

// refusedStage returns the stage at which the callee's own layer refused the token, if a new token may help.
// Both mark and reason must be there: any program may write the reason.
func refusedStage(err error, path string, header, trailer metadata.MD) string {
	if status.Code(err) != codes.Unauthenticated || !verify.IsRenewable(reasonOf(status.Convert(err))) {
		return ""
	}
	if len(header.Get(markKey)) > 0 {
		return ""
	}
	return stageOf(trailer, path)
}

// removeMarks removes marks from what the program gets: it could pass them on as its own.
func removeMarks(options []grpc.CallOption) {
	for _, option := range options {
		switch option := option.(type) {
		case grpc.HeaderCallOption:
			*option.HeaderAddr = unmarked(*option.HeaderAddr)
		case grpc.TrailerCallOption:
			*option.TrailerAddr = unmarked(*option.TrailerAddr)
		}
	}
}

func targetOf(conn *grpc.ClientConn) string {
	if conn == nil {
		return ""
	}
	return conn.Target()
}
