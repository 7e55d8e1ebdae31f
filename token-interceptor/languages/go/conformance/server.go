package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	conformancev1 "m2m.example/go/m2m/conformance/v1"
	"m2m.example/go/tokens"
	"m2m.example/go/verify"
)

const markKey = "token-refused"

func filesOf(encoded []byte) (*protoregistry.Files, error) {
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(encoded, &set); err != nil {
		return nil, err
	}
	return protodesc.NewFiles(&set)
}

// serverCase runs one call through the interceptors.
func serverCase(ctx context.Context, one *conformancev1.ServerCase) (*conformancev1.ServerResult, error) {
	files, err := filesOf(one.GetDescriptors())
	if err != nil {
		return nil, err
	}
	notStarted := func(err error) (*conformancev1.ServerResult, error) {
		return &conformancev1.ServerResult{Decision: &conformancev1.ServerResult_StartError{StartError: err.Error()}}, nil
	}
	verifier, err := verify.New(verify.Config{Issuers: trusted(one), Now: one.GetNow().AsTime})
	if err != nil {
		return notStarted(err)
	}
	defer verifier.Close()
	var record verify.Record
	options := []tokens.ServerOption{
		tokens.Descriptors(files), tokens.ServesNamed(one.GetServices()...),
		tokens.OnDecision(func(made verify.Record) { record = made }),
	}
	if one.GetObserve() {
		options = append(options, tokens.Observe())
	}
	unary, stream, err := tokens.ServerInterceptors(verifier, options...)
	if err != nil {
		return notStarted(err)
	}
	call := &call{path: one.GetMethod(), marks: one.GetHandlerMarks()}
	call.ctx = metadata.NewIncomingContext(ctx, metadata.MD{"authorization": one.GetAuthorization()})
	call.ctx = grpc.NewContextWithServerTransportStream(call.ctx, call)
	if method := methodOf(files, one.GetMethod()); method != nil && (method.IsStreamingClient() || method.IsStreamingServer()) {
		err = stream(nil, callStream{call: call}, &grpc.StreamServerInfo{FullMethod: call.path}, func(_ any, stream grpc.ServerStream) error {
			stream.SetTrailer(metadata.MD{markKey: call.marks})
			return call.handle(stream.Context())
		})
	} else {
		_, err = unary(call.ctx, nil, &grpc.UnaryServerInfo{FullMethod: call.path}, func(ctx context.Context, _ any) (any, error) {
			return nil, call.handle(ctx)
		})
	}
	result := &conformancev1.ServerResult{Marks: call.trailer.Get(markKey)}
	switch {
	case call.handled && err == nil:
		result.Decision = &conformancev1.ServerResult_Allowed{Allowed: callerOf(call.caller)}
	case !call.handled && err != nil:
		result.Decision = &conformancev1.ServerResult_Refused{Refused: call.refusal(err)}
	default:
		return nil, errors.New("the handler ran, and the call was refused")
	}
	if record.Observed {
		result.WouldDeny = wouldDeny(record.Refusal)
	}
	return result, nil
}

func trusted(one *conformancev1.ServerCase) []verify.TrustedIssuer {
	var issuers []verify.TrustedIssuer
	for _, issuer := range one.GetIssuers() {
		trusted := verify.TrustedIssuer{Issuer: issuer.GetIssuer(), Revocations: verify.NewRevocations()}
		trusted.Fetch = func(context.Context) ([]byte, error) {
			if issuer.GetUnreachable() {
				return nil, errors.New("unreachable")
			}
			return issuer.GetJwks(), nil
		}
		for _, name := range issuer.GetAlgorithms() {
			if name == "Ed25519" {
				name = string(verify.EdDSA)
			}
			trusted.Algorithms = append(trusted.Algorithms, verify.Algorithm(name))
		}
		for _, tokenID := range one.GetRevokedTokenIds() {
			trusted.Revocations.RevokeToken(tokenID, one.GetNow().AsTime().Add(24*time.Hour))
		}
		issuers = append(issuers, trusted)
	}
	return issuers
}

func methodOf(files *protoregistry.Files, path string) protoreflect.MethodDescriptor {
	name := strings.ReplaceAll(strings.TrimPrefix(path, "/"), "/", ".")
	found, err := files.FindDescriptorByName(protoreflect.FullName(name))
	if err != nil {
		return nil
	}
	method, _ := found.(protoreflect.MethodDescriptor)
	return method
}

// call is the transport of one call.
type call struct {
	ctx     context.Context
	path    string
	marks   []string
	trailer metadata.MD
	handled bool
	caller  *tokens.Caller
}

func (c *call) handle(ctx context.Context) error {
	c.handled = true
	c.caller, _ = tokens.CallerFrom(ctx)
	return grpc.SetTrailer(ctx, metadata.MD{markKey: c.marks})
}

func (c *call) Method() string               { return c.path }
func (c *call) SetHeader(metadata.MD) error  { return nil }
func (c *call) SendHeader(metadata.MD) error { return nil }
func (c *call) SetTrailer(md metadata.MD) error {
	c.trailer = metadata.Join(c.trailer, md)
	return nil
}

func (c *call) refusal(err error) *conformancev1.Refusal {
	answer := status.Convert(err)
	refusal := &conformancev1.Refusal{
		Code: int32(answer.Code()), WwwAuthenticate: strings.Join(c.trailer.Get("www-authenticate"), ", "),
	}
	for _, detail := range answer.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			refusal.Reason, refusal.Domain, refusal.Metadata = detail.GetReason(), detail.GetDomain(), detail.GetMetadata()
		case *errdetails.RetryInfo:
			refusal.HasRetryInfo = true
		}
	}
	return refusal
}

// callStream is the transport of a stream.
type callStream struct {
	grpc.ServerStream
	call *call
}

func (s callStream) Context() context.Context     { return s.call.ctx }
func (s callStream) SetTrailer(md metadata.MD)    { _ = s.call.SetTrailer(md) }
func (s callStream) SetHeader(metadata.MD) error  { return nil }
func (s callStream) SendHeader(metadata.MD) error { return nil }

func wouldDeny(refusal *verify.Refusal) *conformancev1.Refusal {
	call := call{trailer: metadata.MD{}}
	if challenge := refusal.Challenge(); challenge != "" {
		call.trailer.Set("www-authenticate", challenge)
	}
	return call.refusal(tokens.StatusOf(refusal).Err())
}

func callerOf(caller *tokens.Caller) *conformancev1.Caller {
	if caller == nil {
		return &conformancev1.Caller{}
	}
	var actors []string
	for _, actor := range caller.Actors() {
		actors = append(actors, actor.Subject)
	}
	return &conformancev1.Caller{
		Issuer: caller.Issuer(), Subject: caller.Subject(), ClientId: caller.ClientID(), TokenId: caller.TokenID(),
		Scopes: slices.Clone(caller.Scopes()), ExpiresAt: timestamppb.New(caller.ExpiresAt()), Actors: actors,
	}
}
