// Package tokenverifier protects a gRPC server with access tokens of one issuer (RFC 9068). It uses
// github.com/coreos/go-oidc. The key set is found by discovery, and fetched again for a new key.
package tokenverifier

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// The allowed difference of the clocks of issuer and verifier.
const clockSkew = 5 * time.Second

// Public marks a method that needs no token, in place of a scope. No scope contains a space.
const Public = "no token"

// Caller is the verified caller, for handlers.
type Caller struct {
	ClientID string `json:"client_id"`
	Subject  string `json:"sub"`
	TokenID  string `json:"jti"`
	Scope    string `json:"scope"`
}

// Verifier checks tokens. It is safe for concurrent use.
type Verifier struct {
	tokens     *oidc.IDTokenVerifier
	algorithms []jose.SignatureAlgorithm
	scopes     map[string]string
}

type callerKey struct{}

// CallerOf returns the verified caller of the call that ctx belongs to.
func CallerOf(ctx context.Context) (Caller, bool) {
	caller, ok := ctx.Value(callerKey{}).(Caller)
	return caller, ok
}

// Discover returns a verifier for the tokens of issuer that are for audience. It keeps the HTTP client in ctx
// (oidc.ClientContext) for the key set. scopes has the scope of each full method name. A method without an
// entry is rejected, and a Public one is open.
func Discover(ctx context.Context, issuer, audience string, scopes map[string]string) (*Verifier, error) {
	provider, err := oidc.NewProvider(ctx, issuer)
	if err != nil {
		return nil, err
	}
	return newVerifier(provider.VerifierContext(ctx, config(audience)), scopes), nil
}

func config(audience string) *oidc.Config {
	// The library allows no leeway for exp.
	behind := func() time.Time { return time.Now().Add(-clockSkew) }
	return &oidc.Config{ClientID: audience, SupportedSigningAlgs: []string{oidc.ES256}, Now: behind}
}

func newVerifier(tokens *oidc.IDTokenVerifier, scopes map[string]string) *Verifier {
	return &Verifier{tokens: tokens, algorithms: []jose.SignatureAlgorithm{jose.ES256}, scopes: scopes}
}

// Verify checks a token. The library checks signature, issuer, audience, expiry and nbf. This function checks
// the rest of RFC 9068.
func (v *Verifier) Verify(ctx context.Context, token string) (Caller, error) {
	parsed, err := jose.ParseSignedCompact(token, v.algorithms)
	if err != nil {
		return Caller{}, err
	}
	kind, _ := parsed.Signatures[0].Protected.ExtraHeaders[jose.HeaderType].(string)
	if strings.TrimPrefix(strings.ToLower(kind), "application/") != "at+jwt" {
		return Caller{}, errors.New("not an access token")
	}
	verified, err := v.tokens.Verify(ctx, token)
	if err != nil {
		return Caller{}, err
	}
	var claims struct {
		Caller
		Confirmation any     `json:"cnf"`
		NotBefore    float64 `json:"nbf"`
	}
	if err := verified.Claims(&claims); err != nil {
		return Caller{}, err
	}
	if claims.Subject == "" || claims.ClientID == "" || claims.TokenID == "" || verified.IssuedAt.IsZero() {
		return Caller{}, errors.New("a claim that RFC 9068 asks for is missing")
	}
	if verified.IssuedAt.After(time.Now().Add(clockSkew)) {
		return Caller{}, errors.New("not issued yet")
	}
	// The library's own leeway for nbf is five minutes.
	if claims.NotBefore > float64(time.Now().Add(clockSkew).Unix()) {
		return Caller{}, errors.New("not valid yet")
	}
	if claims.Confirmation != nil {
		return Caller{}, errors.New("the token is good only with proof of its key")
	}
	return claims.Caller, nil
}

// Unary protects unary methods.
func (v *Verifier) Unary(
	ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler,
) (any, error) {
	ctx, err := v.authorize(ctx, info.FullMethod)
	if err != nil {
		return nil, err
	}
	return handler(ctx, request)
}

// Stream protects streaming methods.
func (v *Verifier) Stream(
	server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler,
) error {
	ctx, err := v.authorize(stream.Context(), info.FullMethod)
	if err != nil {
		return err
	}
	return handler(server, guarded{stream, ctx})
}

type guarded struct {
	grpc.ServerStream
	ctx context.Context
}

func (g guarded) Context() context.Context { return g.ctx }

func (v *Verifier) authorize(ctx context.Context, method string) (context.Context, error) {
	scope, declared := v.scopes[method]
	if !declared {
		return nil, refused(ctx, codes.PermissionDenied, "METHOD_NOT_DECLARED", "the method declares no policy", "")
	}
	if scope == Public {
		return ctx, nil
	}
	header := metadata.ValueFromIncomingContext(ctx, "authorization")
	if len(header) != 1 {
		return nil, refused(ctx, codes.Unauthenticated, "CREDENTIALS_MISSING", "one bearer token is needed", "")
	}
	kind, token, _ := strings.Cut(header[0], " ")
	if !strings.EqualFold(kind, "bearer") {
		return nil, refused(ctx, codes.Unauthenticated, "CREDENTIALS_MISSING", "a bearer token is needed", "")
	}
	caller, err := v.Verify(ctx, token)
	if expired := (*oidc.TokenExpiredError)(nil); errors.As(err, &expired) {
		return nil, refused(ctx, codes.Unauthenticated, "TOKEN_EXPIRED", "the token has expired", "")
	} else if err != nil {
		return nil, refused(ctx, codes.Unauthenticated, "TOKEN_INVALID", "the token is not good", "")
	}
	if !slices.Contains(strings.Fields(caller.Scope), scope) {
		return nil, refused(ctx, codes.PermissionDenied, "SCOPE_INSUFFICIENT", "the token lacks the scope "+scope, scope)
	}
	return context.WithValue(ctx, callerKey{}, caller), nil
}

// refused returns a rejection with its reason of m2m.token.v1 (google.rpc.ErrorInfo), which programs and our client
// layer use, and with the challenge of RFC 6750.
func refused(ctx context.Context, code codes.Code, reason, words, scope string) error {
	info := &errdetails.ErrorInfo{Reason: reason, Domain: "m2m.token.v1"}
	challenge := `Bearer error="invalid_token"`
	switch {
	case scope != "":
		info.Metadata = map[string]string{"scope": scope}
		challenge = `Bearer error="insufficient_scope", scope="` + scope + `"`
	case reason == "CREDENTIALS_MISSING":
		challenge = "Bearer"
	}
	if code == codes.Unauthenticated || scope != "" {
		// It fails only outside a call.
		_ = grpc.SetTrailer(ctx, metadata.Pairs("www-authenticate", challenge))
	}
	plain := status.New(code, words)
	if detailed, err := plain.WithDetails(info); err == nil {
		return detailed.Err()
	}
	return plain.Err()
}
