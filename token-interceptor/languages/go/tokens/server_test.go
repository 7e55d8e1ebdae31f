package tokens

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoregistry"

	catalogv1 "m2m.example/go/conformance/catalog/v1"
	"m2m.example/go/internal/testissuer"
	"m2m.example/go/policy"
	"m2m.example/go/verify"
)

const issuerName = "https://issuer.example"

// catalog is a handler that answers with its caller.
type catalog struct {
	catalogv1.UnimplementedCatalogServer
}

func (catalog) Get(ctx context.Context, _ *catalogv1.Message) (*catalogv1.Message, error) {
	_ = grpc.SetTrailer(ctx, metadata.Pairs(markKey, "before-handler /conformance.catalog.v1.Catalog/Get"))
	_ = grpc.SetHeader(ctx, metadata.Pairs("Token-Refused", "before-handler /conformance.catalog.v1.Catalog/Get"))
	if caller, ok := CallerFrom(ctx); ok {
		return &catalogv1.Message{Text: caller.ClientID()}, nil
	}
	return &catalogv1.Message{}, nil
}

func (catalog) Ping(ctx context.Context, _ *catalogv1.Message) (*catalogv1.Message, error) {
	if _, ok := CallerFrom(ctx); ok {
		return nil, errors.New("a public method has no caller")
	}
	return &catalogv1.Message{}, nil
}

// Greet answers with its caller, if there is one.
func (c catalog) Greet(ctx context.Context, message *catalogv1.Message) (*catalogv1.Message, error) {
	return c.Get(ctx, message)
}

// Watch sends one message, and then waits for its context.
func (catalog) Watch(_ *catalogv1.Message, stream grpc.ServerStreamingServer[catalogv1.Message]) error {
	if err := stream.Send(&catalogv1.Message{Text: "first"}); err != nil {
		return err
	}
	<-stream.Context().Done()
	return stream.Context().Err()
}

// Follow echoes.
func (catalog) Follow(stream grpc.BidiStreamingServer[catalogv1.Message, catalogv1.Message]) error {
	for {
		message, err := stream.Recv()
		if err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if err := stream.Send(message); err != nil {
			return err
		}
	}
}

type world struct {
	issuer      *testissuer.Issuer
	revocations *verify.Revocations
	clock       atomic.Int64 // Unix seconds; 0: the system's
	client      catalogv1.CatalogClient
	conn        *grpc.ClientConn
}

func (w *world) now() time.Time {
	if seconds := w.clock.Load(); seconds > 0 {
		return time.Unix(seconds, 0)
	}
	return time.Now()
}

func serve(t *testing.T, options ...ServerOption) *world {
	t.Helper()
	w := &world{issuer: testissuer.New(t, issuerName), revocations: verify.NewRevocations()}
	trusted := w.issuer.Trusted()
	trusted.Revocations = w.revocations
	verifier, err := verify.New(verify.Config{Issuers: []verify.TrustedIssuer{trusted}, Now: w.now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(verifier.Close)
	options = append([]ServerOption{Serves(&catalogv1.Catalog_ServiceDesc)}, options...)
	guard, err := Server(verifier, options...)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(guard...)
	catalogv1.RegisterCatalogServer(server, catalog{})
	catalogv1.RegisterUnnamedServer(server, catalogv1.UnimplementedUnnamedServer{})
	healthv1.RegisterHealthServer(server, health.NewServer())
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	w.conn, err = grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.conn.Close() })
	w.client = catalogv1.NewCatalogClient(w.conn)
	return w
}

func bearing(t *testing.T, token string) context.Context {
	return metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+token)
}

func (w *world) token(changes map[string]any) string { return w.issuer.Token(w.now().Unix(), changes) }

func retryInfo(err error) *errdetails.RetryInfo {
	for _, detail := range status.Convert(err).Details() {
		if retry, ok := detail.(*errdetails.RetryInfo); ok {
			return retry
		}
	}
	return nil
}

func TestACallWithATokenReachesTheHandler(t *testing.T) {
	w := serve(t)
	var header, trailer metadata.MD
	answer, err := w.client.Get(bearing(t, w.token(nil)), &catalogv1.Message{}, grpc.Header(&header), grpc.Trailer(&trailer))
	if err != nil || answer.GetText() != "orders" {
		t.Fatal(answer, err)
	}
	if len(header.Get(markKey))+len(trailer.Get(markKey)) > 0 {
		t.Fatal("a handler's mark leaves the server")
	}
}

func TestARefusalHasReasonChallengeAndMark(t *testing.T) {
	w := serve(t)
	const get = "before-handler /conformance.catalog.v1.Catalog/Get"
	old := w.issuer.Token(time.Now().Unix()-400, nil)
	for name, expected := range map[string]struct {
		ctx                     context.Context
		code                    codes.Code
		reason, challenge, mark string
	}{
		"nothing": {t.Context(), codes.Unauthenticated, "CREDENTIALS_MISSING", "Bearer", ""},
		"expired": {bearing(t, old), codes.Unauthenticated, "TOKEN_EXPIRED",
			`Bearer error="invalid_token", error_description="the token has expired"`, get},
		"rubbish": {bearing(t, "a.b.c"), codes.Unauthenticated, "TOKEN_INVALID",
			`Bearer error="invalid_token", error_description="the token is not valid"`, get},
		"audience": {bearing(t, w.token(map[string]any{"aud": "x"})), codes.Unauthenticated, "TOKEN_AUDIENCE_MISMATCH",
			`Bearer error="invalid_token", error_description="the token was issued for another audience"`, ""},
		"scope": {bearing(t, w.token(map[string]any{"scope": "x"})), codes.PermissionDenied, "SCOPE_INSUFFICIENT",
			`Bearer error="insufficient_scope", scope="catalog.read"`, ""},
	} {
		var trailer metadata.MD
		_, err := w.client.Get(expected.ctx, &catalogv1.Message{}, grpc.Trailer(&trailer))
		if status.Code(err) != expected.code || reasonOf(status.Convert(err)) != expected.reason {
			t.Error(name, err)
		}
		if challenge := strings.Join(trailer.Get("www-authenticate"), ""); challenge != expected.challenge {
			t.Error(name, challenge)
		}
		if mark := strings.Join(trailer.Get(markKey), ""); mark != expected.mark {
			t.Error(name, mark)
		}
		if retryInfo(err) != nil {
			t.Error(name, "waiting does not help")
		}
	}
}

func TestPublicMethodsAndHealthNeedNoToken(t *testing.T) {
	w := serve(t)
	if _, err := w.client.Ping(bearing(t, "rubbish"), &catalogv1.Message{}); err != nil {
		t.Fatal(err)
	}
	if _, err := healthv1.NewHealthClient(w.conn).Check(t.Context(), &healthv1.HealthCheckRequest{}); err != nil {
		t.Fatal(err)
	}
}

func TestAnIdentifyingMethodKnowsItsCallerIfThereIsOne(t *testing.T) {
	w := serve(t)
	for name, expected := range map[string]struct {
		ctx    context.Context
		caller string
		reason string
	}{
		"nothing": {t.Context(), "", ""},
		"token":   {bearing(t, w.token(map[string]any{"scope": "x"})), "orders", ""},
		"rubbish": {bearing(t, "rubbish"), "", "TOKEN_INVALID"},
		"empty":   {metadata.AppendToOutgoingContext(t.Context(), "authorization", ""), "", "CREDENTIALS_MISSING"},
		"other":   {metadata.AppendToOutgoingContext(t.Context(), "authorization", "Basic YTpi"), "", "CREDENTIALS_MISSING"},
	} {
		answer, err := w.client.Greet(expected.ctx, &catalogv1.Message{})
		if reasonOf(status.Convert(err)) != expected.reason || answer.GetText() != expected.caller {
			t.Error(name, answer, err)
		}
	}
}

func TestAServiceThatWasNotNamedIsDenied(t *testing.T) {
	w := serve(t)
	ctx := bearing(t, w.token(map[string]any{"aud": "conformance.catalog.v1.Unnamed", "scope": "unnamed.read"}))
	_, err := catalogv1.NewUnnamedClient(w.conn).Get(ctx, &catalogv1.Message{})
	if status.Code(err) != codes.PermissionDenied || reasonOf(status.Convert(err)) != "METHOD_NOT_DECLARED" {
		t.Fatal(err)
	}
}

func TestAStreamEndsWithItsToken(t *testing.T) {
	w := serve(t)
	w.clock.Store(1_800_000_000)
	var trailer metadata.MD
	stream, err := w.client.Watch(bearing(t, w.token(nil)), &catalogv1.Message{}, grpc.Trailer(&trailer))
	if err != nil {
		t.Fatal(err)
	}
	if first, err := stream.Recv(); err != nil || first.GetText() != "first" {
		t.Fatal(first, err)
	}
	began := time.Now()
	w.clock.Store(1_800_000_305)
	_, err = stream.Recv()
	if took := time.Since(began); took > 4*time.Second {
		t.Error("it took", took)
	}
	if status.Code(err) != codes.Unauthenticated || reasonOf(status.Convert(err)) != "TOKEN_EXPIRED" {
		t.Fatal(err)
	}
	if stageOf(stream.Trailer(), "/conformance.catalog.v1.Catalog/Watch") != afterHandler {
		t.Fatal(stream.Trailer())
	}
}

func TestAStreamEndsWithTheRevocationOfItsToken(t *testing.T) {
	w := serve(t)
	stream, err := w.client.Watch(bearing(t, w.token(nil)), &catalogv1.Message{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	w.revocations.RevokeToken("token-1", time.Now().Add(time.Hour))
	if _, err = stream.Recv(); reasonOf(status.Convert(err)) != "TOKEN_REVOKED" {
		t.Fatal(err)
	}
}

func TestAnObservingServerEndsNoStream(t *testing.T) {
	w := serve(t, Observe())
	w.clock.Store(1_800_000_000)
	ctx, cancel := context.WithTimeout(bearing(t, w.token(nil)), 1500*time.Millisecond)
	defer cancel()
	stream, err := w.client.Watch(ctx, &catalogv1.Message{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	w.clock.Store(1_800_009_000)
	if _, err := stream.Recv(); status.Code(err) != codes.DeadlineExceeded {
		t.Fatal(err)
	}
}

// closing returns descriptors in which Follow ends with its token.
func closing(t *testing.T) *protoregistry.Files {
	t.Helper()
	file := protodesc.ToFileDescriptorProto(catalogv1.File_conformance_catalog_v1_catalog_proto)
	for _, method := range file.Service[0].Method {
		if method.GetName() == "Follow" {
			method.Options = nil
		}
	}
	descriptor, err := protodesc.NewFile(file, protoregistry.GlobalFiles)
	if err != nil {
		t.Fatal(err)
	}
	files := &protoregistry.Files{}
	if err := files.RegisterFile(descriptor); err != nil {
		t.Fatal(err)
	}
	return files
}

// Many streams are ended while their handlers send: run it with -race.
func TestBusyStreamsEndWithTheirTokenInBothDirections(t *testing.T) {
	var ends atomic.Int64
	w := serve(t, Descriptors(closing(t)), OnDecision(func(record verify.Record) {
		if record.Refusal != nil {
			ends.Add(1)
		}
	}))
	w.clock.Store(1_800_000_000)
	token := w.token(map[string]any{"scope": "catalog.read"})
	var streams sync.WaitGroup
	for range 20 {
		streams.Go(func() {
			stream, err := w.client.Follow(bearing(t, token))
			if err != nil {
				t.Error(err)
				return
			}
			go func() {
				for stream.Send(&catalogv1.Message{Text: "x"}) == nil {
				}
			}()
			for err == nil {
				_, err = stream.Recv()
			}
			if reasonOf(status.Convert(err)) != "TOKEN_EXPIRED" || status.Code(err) != codes.Unauthenticated {
				t.Error(err)
			}
		})
	}
	time.Sleep(100 * time.Millisecond)
	w.clock.Store(1_800_000_305)
	streams.Wait()
	if ends.Load() != 20 {
		t.Error(ends.Load())
	}
}

func TestAStreamThatMayOutliveItsTokenGoesOn(t *testing.T) {
	w := serve(t)
	w.clock.Store(1_800_000_000)
	stream, err := w.client.Follow(bearing(t, w.token(nil)))
	if err != nil {
		t.Fatal(err)
	}
	for _, seconds := range []int64{1_800_000_000, 1_800_009_000} {
		w.clock.Store(seconds)
		if err := stream.Send(&catalogv1.Message{Text: "x"}); err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAnObservingServerLetsEveryCallPass(t *testing.T) {
	var records []verify.Record
	w := serve(t, Observe(), OnDecision(func(record verify.Record) { records = append(records, record) }))
	if _, err := w.client.Get(t.Context(), &catalogv1.Message{}); err != nil {
		t.Fatal(err)
	}
	answer, err := w.client.Get(bearing(t, w.token(map[string]any{"scope": "x"})), &catalogv1.Message{})
	if err != nil || answer.GetText() != "orders" {
		t.Fatal(answer, err)
	}
	if len(records) != 2 || records[0].Refusal.Reason() != "CREDENTIALS_MISSING" || !records[0].Observed ||
		records[1].Refusal.Reason() != "SCOPE_INSUFFICIENT" || records[1].Caller.ClientID() != "orders" {
		t.Fatal(records)
	}
}

func TestAServerWithAMistakeDoesNotStart(t *testing.T) {
	trusted := testissuer.New(t, issuerName).Trusted()
	other := testissuer.New(t, "https://other.example").Trusted()
	for name, expected := range map[string]struct {
		issuers []verify.TrustedIssuer
		options []ServerOption
		fault   string
	}{
		"no service":   {nil, nil, "name the services"},
		"undeclared":   {nil, []ServerOption{Serves(&catalogv1.Forgotten_ServiceDesc)}, "/conformance.catalog.v1.Forgotten/Get: is served without a policy"},
		"unknown":      {nil, []ServerOption{ServesNamed("a.B")}, "a.B: no linked-in descriptor"},
		"no method":    {nil, []ServerOption{Serves(&catalogv1.Catalog_ServiceDesc), Open("/a.B/C")}, "/a.B/C: has a policy, but there is no such method"},
		"two issuers":  {[]verify.TrustedIssuer{other}, []ServerOption{Serves(&catalogv1.Catalog_ServiceDesc)}, "Catalog/Audit: names callers"},
		"every fault":  {nil, []ServerOption{Serves(&catalogv1.Forgotten_ServiceDesc), ServesNamed("a.B")}, "a.B: no linked-in"},
		"not reserved": {nil, []ServerOption{ServesNamed("conformance.catalog.v1.Message")}, "Message: no linked-in"},
	} {
		verifier, err := verify.New(verify.Config{Issuers: append(expected.issuers, trusted)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Server(verifier, expected.options...); err == nil || !strings.Contains(err.Error(), expected.fault) {
			t.Error(name, err)
		}
		verifier.Close()
	}
	if _, err := policy.Linked([]string{"conformance.catalog.v1.Forgotten"}, []string{"/conformance.catalog.v1.Forgotten/Get"}); err != nil {
		t.Error("an opened method needs no annotation:", err)
	}
}

func TestAPanicOfAStreamsHandlerIsThatOfItsCall(t *testing.T) {
	stream := guardedStream{ctx: t.Context(), caller: endless(t)}
	defer func() {
		if text, _ := recover().(string); !strings.HasPrefix(text, "boom") {
			t.Fatal(text)
		}
	}()
	_, _ = stream.handle(func() error { panic("boom") })
}

// endless returns the caller of a token that does not end here.
func endless(t *testing.T) *Caller {
	t.Helper()
	issuer := testissuer.New(t, issuerName)
	verifier, err := verify.New(verify.Config{Issuers: []verify.TrustedIssuer{issuer.Trusted()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(verifier.Close)
	table, err := policy.Linked([]string{"conformance.catalog.v1.Catalog"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	guard, err := verify.NewGuard(verifier, table, verify.GuardConfig{})
	if err != nil {
		t.Fatal(err)
	}
	token := "Bearer " + issuer.Token(time.Now().Unix(), nil)
	return guard.Decide(t.Context(), "/conformance.catalog.v1.Catalog/Watch", []string{token}).Caller
}
