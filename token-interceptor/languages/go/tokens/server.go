// Package tokens puts access tokens into grpc-go: a server layer that enforces the m2m.auth.v1 annotations,
// and a client layer that obtains the token which the called method demands.
//
// A server:
//
//	verifier, err := verify.New(verify.Config{Issuers: []verify.TrustedIssuer{{Issuer: "https://tokens.example.com"}}})
//	options, err := tokens.Server(verifier, tokens.Serves(&inventoryv1.InventoryService_ServiceDesc))
//	server := grpc.NewServer(options...)
//
// A client:
//
//	source, err := tokens.ClientCredentials(tokens.IssuerConfig{Issuer: "https://tokens.example.com"}, "orders", secret)
//	client, err := tokens.NewClient(source)
//	conn, err := client.NewConn("inventory.example.com:443", grpc.WithTransportCredentials(transport))
package tokens

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/reflect/protoregistry"

	"m2m.example/go/policy"
	"m2m.example/go/verify"
)

// Caller is the caller of a call, for handlers.
type Caller = verify.Caller

// CallerFrom returns the caller of the call that ctx belongs to. It returns false for a public method, unless
// the method says identify and the call has a token.
func CallerFrom(ctx context.Context) (*Caller, bool) { return verify.CallerFrom(ctx) }

// ServerOption is a setting of Server.
type ServerOption func(*serverSettings)

type serverSettings struct {
	files    *protoregistry.Files
	services []string
	open     []string
	guard    verify.GuardConfig
}

// Serves names the services that the server registers. Calls to other services are denied.
func Serves(services ...*grpc.ServiceDesc) ServerOption {
	return func(s *serverSettings) {
		for _, service := range services {
			s.services = append(s.services, service.ServiceName)
		}
	}
}

// ServesNamed is Serves by full names, such as inventory.v1.InventoryService.
func ServesNamed(services ...string) ServerOption {
	return func(s *serverSettings) { s.services = append(s.services, services...) }
}

// Open makes methods public in spite of their annotations or of their absence: /package.Service/Method. Use
// it for services that are not yours, such as reflection. Health checks are open already.
func Open(paths ...string) ServerOption {
	return func(s *serverSettings) { s.open = append(s.open, paths...) }
}

// Observe lets every call pass. Each decision is made, logged and recorded as if it were enforced.
func Observe() ServerOption {
	return func(s *serverSettings) { s.guard.Observe = true }
}

// OnDecision passes every decision to record, for metrics and audit records. It must not block.
func OnDecision(record func(verify.Record)) ServerOption {
	return func(s *serverSettings) { s.guard.Record = record }
}

// Descriptors replaces the linked-in descriptors.
func Descriptors(files *protoregistry.Files) ServerOption {
	return func(s *serverSettings) { s.files = files }
}

// Server returns the options that guard a server: grpc.NewServer(options...). They cover unary methods and
// streams. The policy comes from the linked-in descriptors.
//
// It fails if no service is named, a method of a service has no policy, a policy has no method, an annotation
// contradicts itself, or a method names callers that several issuers may have. The error names every fault.
//
// Give other interceptors with grpc.ChainUnaryInterceptor and grpc.ChainStreamInterceptor after these
// options, so that they run behind the guard. Handlers cannot use grpc.SetSendCompressor and
// grpc.ClientSupportedCompressors, as the layer watches their trailers.
func Server(verifier *verify.Verifier, options ...ServerOption) ([]grpc.ServerOption, error) {
	guarded, err := newGuarded(verifier, options)
	if err != nil {
		return nil, err
	}
	return []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(guarded.unary), grpc.ChainStreamInterceptor(guarded.stream),
	}, nil
}

// ServerInterceptors returns the interceptors of Server, for programs that order them by themselves.
func ServerInterceptors(verifier *verify.Verifier, options ...ServerOption) (
	grpc.UnaryServerInterceptor, grpc.StreamServerInterceptor, error,
) {
	guarded, err := newGuarded(verifier, options)
	if err != nil {
		return nil, nil, err
	}
	return guarded.unary, guarded.stream, nil
}

func newGuarded(verifier *verify.Verifier, options []ServerOption) (*guarded, error) {
	settings := serverSettings{files: protoregistry.GlobalFiles}
	for _, option := range options {
		option(&settings)
	}
	if len(settings.services) == 0 {
		return nil, errors.New("tokens.Server: name the services that are served: tokens.Serves")
	}
	table, err := policy.Of(settings.files, settings.services, settings.open)
	if err != nil {
		return nil, fmt.Errorf("tokens.Server: %w", err)
	}
	guard, err := verify.NewGuard(verifier, table, settings.guard)
	if err != nil {
		return nil, fmt.Errorf("tokens.Server: %w", err)
	}
	return &guarded{guard}, nil
}

// guarded has the interceptors of a server.
type guarded struct{ guard *verify.Guard }

func (g *guarded) decide(ctx context.Context, path string) verify.Decision {
	return g.guard.Decide(ctx, path, metadata.ValueFromIncomingContext(ctx, "authorization"))
}

func (g *guarded) unary(
	ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler,
) (any, error) {
	decision := g.decide(ctx, info.FullMethod)
	if decision.Refusal != nil {
		return nil, answer(func(trailer metadata.MD) { _ = grpc.SetTrailer(ctx, trailer) },
			decision.Refusal, beforeHandler, info.FullMethod)
	}
	return handler(handlerContext(ctx, decision.Caller), request)
}

func (g *guarded) stream(
	server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler,
) error {
	ctx := stream.Context()
	decision := g.decide(ctx, info.FullMethod)
	if decision.Refusal != nil {
		return answer(stream.SetTrailer, decision.Refusal, beforeHandler, info.FullMethod)
	}
	within := &guardedStream{ServerStream: stream, ctx: handlerContext(ctx, decision.Caller)}
	if decision.Caller == nil || !decision.EndsWithToken {
		return handler(server, within)
	}
	within.caller = decision.Caller
	refusal, err := within.handle(func() error { return handler(server, within) })
	if refusal != nil {
		g.guard.RecordEnd(decision.Caller, refusal)
		return answer(stream.SetTrailer, refusal, afterHandler, info.FullMethod)
	}
	return err
}

// answer returns the status of a refusal, and sets its challenge and its mark.
func answer(setTrailer func(metadata.MD), refusal *verify.Refusal, stage, path string) error {
	trailer := metadata.MD{}
	if challenge := refusal.Challenge(); challenge != "" {
		trailer.Set("www-authenticate", challenge)
	}
	if refusal.IsRenewable() {
		trailer.Set(markKey, stage+" "+path)
	}
	setTrailer(trailer)
	return StatusOf(refusal).Err()
}

func handlerContext(ctx context.Context, caller *Caller) context.Context {
	if transport := grpc.ServerTransportStreamFromContext(ctx); transport != nil {
		ctx = grpc.NewContextWithServerTransportStream(ctx, unmarkedTransport{transport})
	}
	if caller != nil {
		ctx = verify.WithCaller(ctx, caller)
	}
	return ctx
}

// unmarkedTransport removes marks from what a handler sets by its context.
type unmarkedTransport struct{ grpc.ServerTransportStream }

func (u unmarkedTransport) SetHeader(md metadata.MD) error {
	return u.ServerTransportStream.SetHeader(unmarked(md))
}

func (u unmarkedTransport) SendHeader(md metadata.MD) error {
	return u.ServerTransportStream.SendHeader(unmarked(md))
}

func (u unmarkedTransport) SetTrailer(md metadata.MD) error {
	return u.ServerTransportStream.SetTrailer(unmarked(md))
}
