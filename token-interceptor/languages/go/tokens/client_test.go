package tokens

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	catalogv1 "m2m.example/go/conformance/catalog/v1"
	"m2m.example/go/internal/testissuer"
	"m2m.example/go/source"
	"m2m.example/go/verify"
)

const secret = "tks_never-printed"

// minting is a source that signs a token for each request.
type minting struct {
	world *world

	mutex    sync.Mutex
	requests []source.Request
}

func (m *minting) Fetch(_ context.Context, request source.Request) (source.Issued, error) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.requests = append(m.requests, request)
	token := m.world.token(map[string]any{
		"aud": request.Audience, "scope": strings.Join(request.Scopes, " "), "jti": fmt.Sprint("token-", len(m.requests)),
	})
	return source.Issued{Token: source.Secret(token), ExpiresIn: 5 * time.Minute}, nil
}

func (m *minting) count() int {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return len(m.requests)
}

// called is a server, and a client layer that calls it.
func called(t *testing.T, options ...ClientOption) (*world, *minting, catalogv1.CatalogClient) {
	t.Helper()
	w := serve(t)
	minting := &minting{world: w}
	layer, err := NewClient(minting, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(layer.Close)
	conn, err := layer.NewConn(w.conn.Target(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return w, minting, catalogv1.NewCatalogClient(conn)
}

func TestACallCarriesTheTokenThatItsMethodDemands(t *testing.T) {
	_, minting, client := called(t)
	for range 3 {
		if answer, err := client.Get(t.Context(), &catalogv1.Message{}); err != nil || answer.GetText() != "orders" {
			t.Fatal(answer, err)
		}
		if _, err := client.Ping(t.Context(), &catalogv1.Message{}); err != nil {
			t.Fatal(err)
		}
		// Allowed, and not implemented.
		if _, err := client.Find(t.Context(), &catalogv1.Message{}); status.Code(err) != codes.Unimplemented {
			t.Fatal(err)
		}
	}
	if _, err := client.Put(t.Context(), &catalogv1.Message{}); status.Code(err) != codes.Unimplemented {
		t.Fatal(err)
	}
	if text := fmt.Sprint(minting.requests); text !=
		`[audience "catalog", scopes "catalog.read" audience "catalog", scopes "catalog.admin catalog.write"]` {
		t.Fatal(text)
	}
}

func TestACallToAnIdentifyingMethodCarriesATokenIfThereIsOne(t *testing.T) {
	_, minting, client := called(t)
	if answer, err := client.Greet(t.Context(), &catalogv1.Message{}); err != nil || answer.GetText() != "orders" {
		t.Fatal(answer, err)
	}
	if text := fmt.Sprint(minting.requests); text != `[audience "catalog", default scopes]` {
		t.Fatal(text)
	}
	_, _, client = called(t, OnBehalfOfCaller()) // and there is no caller
	if answer, err := client.Greet(t.Context(), &catalogv1.Message{}); err != nil || answer.GetText() != "" {
		t.Fatal(answer, err)
	}
	if stream, err := client.Listen(t.Context(), &catalogv1.Message{}); err != nil {
		t.Fatal(err)
	} else if _, err := stream.Recv(); status.Code(err) != codes.Unimplemented {
		t.Fatal(err)
	}
}

func TestACallIsSentAgainWithANewToken(t *testing.T) {
	w, minting, client := called(t)
	if _, err := client.Get(t.Context(), &catalogv1.Message{}); err != nil {
		t.Fatal(err)
	}
	w.revocations.RevokeToken("token-1", time.Now().Add(time.Hour))
	var trailer metadata.MD
	if _, err := client.Get(t.Context(), &catalogv1.Message{}, grpc.Trailer(&trailer)); err != nil {
		t.Fatal(err)
	}
	if minting.count() != 2 {
		t.Fatal(minting.count())
	}
}

func TestACallThatMustNotBeSentAgainFailsAndRenewsTheToken(t *testing.T) {
	const get = "/conformance.catalog.v1.Catalog/Get"
	w, minting, client := called(t, NeverReplay(get))
	if _, err := client.Get(t.Context(), &catalogv1.Message{}); err != nil {
		t.Fatal(err)
	}
	w.revocations.RevokeToken("token-1", time.Now().Add(time.Hour))
	var trailer metadata.MD
	_, err := client.Get(t.Context(), &catalogv1.Message{}, grpc.Trailer(&trailer))
	if reasonOf(status.Convert(err)) != "TOKEN_REVOKED" || len(trailer.Get(markKey)) > 0 || len(trailer.Get("www-authenticate")) != 1 {
		t.Fatal(err, trailer)
	}
	renewed(t, minting, func() error {
		_, err := client.Get(t.Context(), &catalogv1.Message{})
		return err
	})
}

// renewed waits until call succeeds with a second token. The token is in use a little later than it is issued.
func renewed(t *testing.T, minting *minting, call func() error) {
	t.Helper()
	err := call()
	for began := time.Now(); err != nil && time.Since(began) < 5*time.Second; err = call() {
		time.Sleep(10 * time.Millisecond)
	}
	if err != nil || minting.count() != 2 {
		t.Fatal(err, minting.count())
	}
}

func TestAStreamIsNeverSentAgainAndItsTokenIsRenewed(t *testing.T) {
	w, minting, client := called(t)
	receive := func() error {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		stream, err := client.Watch(ctx, &catalogv1.Message{})
		if err != nil {
			return err
		}
		_, err = stream.Recv()
		return err
	}
	if err := receive(); err != nil {
		t.Fatal(err)
	}
	w.revocations.RevokeToken("token-1", time.Now().Add(time.Hour))
	if err := receive(); reasonOf(status.Convert(err)) != "TOKEN_REVOKED" {
		t.Fatal(err)
	}
	renewed(t, minting, receive)
}

func TestACallsOwnAuthorizationIsKept(t *testing.T) {
	w, minting, client := called(t)
	if _, err := client.Get(bearing(t, w.token(nil)), &catalogv1.Message{}); err != nil || minting.count() != 0 {
		t.Fatal(err, minting.count())
	}
	// In a handler it may have been passed on by mistake.
	ctx := metadata.AppendToOutgoingContext(verify.WithCaller(t.Context(), endless(t)), "authorization", "Bearer x")
	if _, err := client.Get(ctx, &catalogv1.Message{}); reasonOf(status.Convert(err)) != "PRECONDITION_FAILED" {
		t.Fatal(err)
	}
}

func TestTheTokenOfTheProgramsCallerIsNeverPassedOn(t *testing.T) {
	_, minting, client := called(t)
	caller := endless(t)
	ctx := metadata.AppendToOutgoingContext(verify.WithCaller(t.Context(), caller), "authorization", "Bearer "+caller.Bearer())
	if _, err := client.Get(ctx, &catalogv1.Message{}); err != nil || minting.count() != 1 {
		t.Fatal(err, minting.count())
	}
	if _, err := client.Ping(ctx, &catalogv1.Message{}); err != nil {
		t.Fatal(err)
	}
}

func TestOnBehalfOfCallersEachCallerHasATokenOfItsOwn(t *testing.T) {
	_, minting, client := called(t, OnBehalfOfCaller())
	if _, err := client.Get(t.Context(), &catalogv1.Message{}); status.Code(err) != codes.FailedPrecondition {
		t.Fatal("without a caller it would be the program's own token", err)
	}
	for range 2 {
		for _, caller := range []*Caller{endless(t), endless(t)} {
			for range 2 {
				if _, err := client.Get(verify.WithCaller(t.Context(), caller), &catalogv1.Message{}); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if minting.count() != 4 || minting.requests[0].Subject == minting.requests[1].Subject {
		t.Fatal(minting.count())
	}
}

func TestUnknownMethodsNamedInSettingsAreAnError(t *testing.T) {
	for _, option := range []ClientOption{Sharing("/a.B/C"), NeverReplay("/conformance.catalog.v1.Catalog/Ping")} {
		if _, err := NewClient(&minting{}, option); err == nil {
			t.Error("accepted")
		}
	}
}

// self is a certificate for the name of a machine that is not this one.
func self(t *testing.T, name string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour), IsCA: true,
		BasicConstraintsValid: true,
	}
	encoded, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(encoded)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{encoded}, PrivateKey: key}, pool
}

func TestATokenGoesToAnotherMachineOverTLSAlone(t *testing.T) {
	w := serve(t)
	certificate, pool := self(t, "inventory.example")
	verifier, err := verify.New(verify.Config{Issuers: []verify.TrustedIssuer{testissuer.New(t, issuerName).Trusted()}})
	if err != nil {
		t.Fatal(err)
	}
	defer verifier.Close()
	guard, err := Server(verifier, Serves(&catalogv1.Catalog_ServiceDesc))
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(append(guard, grpc.Creds(credentials.NewServerTLSFromCert(&certificate)))...)
	catalogv1.RegisterCatalogServer(server, catalog{})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	to := func(address string) grpc.DialOption {
		return grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", address)
		})
	}
	layer, err := NewClient(&minting{world: w})
	if err != nil {
		t.Fatal(err)
	}
	defer layer.Close()
	call := func(options ...grpc.DialOption) error {
		conn, err := grpc.NewClient("passthrough:///inventory.example:443", options...)
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = catalogv1.NewCatalogClient(conn).Get(t.Context(), &catalogv1.Message{})
		return err
	}
	plain, encrypted := insecure.NewCredentials(), credentials.NewTLS(&tls.Config{RootCAs: pool})
	interceptors := layer.DialOptions()
	err = call(append(interceptors, to(w.conn.Target()), grpc.WithTransportCredentials(plain))...)
	if status.Code(err) != codes.FailedPrecondition || reasonOf(status.Convert(err)) != "PRECONDITION_FAILED" {
		t.Fatal(err)
	}
	// Anonymous in plaintext: the method needs no token.
	conn, err := grpc.NewClient("passthrough:///inventory.example:443",
		append(interceptors, to(w.conn.Target()), grpc.WithTransportCredentials(plain))...)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if answer, err := catalogv1.NewCatalogClient(conn).Greet(t.Context(), &catalogv1.Message{}); err != nil || answer.GetText() != "" {
		t.Fatal(answer, err)
	}
	// Another issuer's token, so the server refuses it: it was sent.
	err = call(append(interceptors, to(listener.Addr().String()), grpc.WithTransportCredentials(encrypted))...)
	if reason := reasonOf(status.Convert(err)); reason != "TOKEN_INVALID" && reason != "TOKEN_KEY_UNKNOWN" {
		t.Fatal(err)
	}
	err = call(to(listener.Addr().String()), grpc.WithTransportCredentials(encrypted), grpc.WithPerRPCCredentials(layer.Credentials()))
	if reason := reasonOf(status.Convert(err)); reason != "TOKEN_INVALID" && reason != "TOKEN_KEY_UNKNOWN" {
		t.Fatal(err)
	}
	if err = call(to(w.conn.Target()), grpc.WithTransportCredentials(plain), grpc.WithPerRPCCredentials(layer.Credentials())); err == nil {
		t.Fatal("call credentials need TLS")
	}
}

func TestNoSecretIsPrinted(t *testing.T) {
	client := source.Client{ID: "orders", Secret: secret}
	overGRPC, err := NewSource(Issuer{URL: "https://issuer.example"}, client)
	if err != nil {
		t.Fatal(err)
	}
	overHTTP, err := source.NewHTTP(source.HTTP{Issuer: "https://issuer.example", Client: client})
	if err != nil {
		t.Fatal(err)
	}
	layer, err := NewClient(overGRPC)
	if err != nil {
		t.Fatal(err)
	}
	caller := endless(t)
	request := source.Request{Subject: secret}
	for _, value := range []any{
		client, overGRPC, overHTTP, layer, request, source.Static(secret), &carried{header: secret},
		source.Issued{Token: secret}, caller, caller.Token,
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d"} {
			text := fmt.Sprintf(verb, value)
			if strings.Contains(text, secret) || strings.Contains(text, caller.Bearer()) {
				t.Errorf("%T by %s: %s", value, verb, text)
			}
		}
	}
}

func TestAPlaintextIssuerOnAnotherMachineIsRefused(t *testing.T) {
	for url, accepted := range map[string]bool{
		"http://localhost:1": true, "https://issuer.example": true, "http://issuer.example": false, "issuer.example:443": false,
	} {
		if _, err := ClientCredentials(Issuer{URL: url}, "orders", secret); (err == nil) != accepted {
			t.Error(url, err)
		}
	}
	if _, err := Watch(Issuer{URL: "http://issuer.example"}); err == nil {
		t.Error("keys in plaintext may be an attacker's")
	}
	if _, err := ClientCredentials(Issuer{URL: "http://issuer.example", AllowPlaintext: true}, "orders", secret); err != nil {
		t.Error(err)
	}
}

func TestTheIssuersFailuresAreTold(t *testing.T) {
	for err, expected := range map[error]source.Refusal{
		own(codes.Unauthenticated, "CLIENT_AUTHENTICATION_FAILED", secret, nil, 0):   source.RefusedClientAuthentication,
		own(codes.InvalidArgument, "INVALID_SCOPE", secret, nil, 0):                  source.RefusedScope,
		own(codes.InvalidArgument, "INVALID_TARGET", secret, nil, 0):                 source.RefusedTarget,
		own(codes.ResourceExhausted, "RATE_LIMITED", secret, nil, 7*time.Second):     source.NotRefused,
		own(codes.Unavailable, "ISSUER_UNAVAILABLE", secret, nil, 0):                 source.NotRefused,
		status.Error(codes.Unauthenticated, secret):                                  source.RefusedClientAuthentication,
		status.Error(codes.Unavailable, "dial tcp: connect: connection refused"):     source.NotRefused,
		errors.New("x509: certificate signed by unknown authority (" + secret + ")"): source.NotRefused,
	} {
		failure := source.ErrorOf(issuerFailure(err))
		if failure.Refusal != expected || strings.Contains(failure.Error(), secret) {
			t.Error(err, failure)
		}
		if reasonOf(status.Convert(err)) == "RATE_LIMITED" && failure.RetryAfter != 7*time.Second {
			t.Error(failure.RetryAfter)
		}
	}
}
