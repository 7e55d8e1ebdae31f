package tokens

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"m2m.example/go/internal/destination"
	tokenv1 "m2m.example/go/m2m/token/v1"
	"m2m.example/go/source"
	"m2m.example/go/verify"
)

const (
	// A connection that answers no ping is dead; a slow server still answers pings.
	keepaliveInterval = 10 * time.Second
	keepaliveTimeout  = 5 * time.Second

	tokenTypeAccess = "urn:ietf:params:oauth:token-type:access_token"
	assertionType   = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
)

// Issuer is the gRPC address of a token server of this project.
type Issuer struct {
	// URL is https://host:port. http is accepted for this machine alone.
	URL string
	// TLS has the roots for the connection. nil: the system's.
	TLS *tls.Config
	// AllowPlaintext permits http to any host. An attacker on the network path can then read the secret.
	AllowPlaintext bool
	// DialOptions are added to those of the connection.
	DialOptions []grpc.DialOption
	// Lifetime is the requested lifetime of tokens. The server caps it. Zero: the client's registered one.
	Lifetime time.Duration
}

func (i Issuer) dial() (*grpc.ClientConn, error) {
	if err := destination.CheckURL(i.URL, i.AllowPlaintext); err != nil {
		return nil, fmt.Errorf("the issuer's URL: %w", err)
	}
	parsed, err := url.Parse(i.URL)
	if err != nil {
		return nil, errors.New("the issuer's URL is not a URL")
	}
	transport, port := credentials.NewTLS(i.TLS), "443"
	if parsed.Scheme == "http" {
		transport, port = insecure.NewCredentials(), "80"
	}
	options := append([]grpc.DialOption{
		grpc.WithTransportCredentials(transport),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveInterval, Timeout: keepaliveTimeout}),
	}, i.DialOptions...)
	return grpc.NewClient(net.JoinHostPort(parsed.Hostname(), cmp.Or(parsed.Port(), port)), options...)
}

// NewSource returns a source that obtains tokens from m2m.token.v1.TokenService: the client's own (RFC 6749
// section 4.4), and those on behalf of a caller by exchange (RFC 8693). It connects at first use.
func NewSource(issuer Issuer, client source.Client) (source.Source, error) {
	if (client.Secret == "") == (client.Assertion == nil) {
		return nil, errors.New("tokens.NewSource: set either Client.Secret or Client.Assertion")
	}
	conn, err := issuer.dial()
	if err != nil {
		return nil, fmt.Errorf("tokens.NewSource: %w", err)
	}
	return &overGRPC{tokenv1.NewTokenServiceClient(conn), client, issuer}, nil
}

// ClientCredentials is NewSource for a client with a secret.
func ClientCredentials(issuer Issuer, clientID, clientSecret string) (source.Source, error) {
	return NewSource(issuer, source.Client{ID: clientID, Secret: source.Secret(clientSecret)})
}

type overGRPC struct {
	tokens tokenv1.TokenServiceClient
	client source.Client
	issuer Issuer
}

// Format hides the secret from package fmt.
func (o *overGRPC) Format(state fmt.State, _ rune) {
	_, _ = fmt.Fprintf(state, "tokens.Source(%q)", o.issuer.URL)
}

// Fetch issues a token, or exchanges the request's Subject for one.
func (o *overGRPC) Fetch(ctx context.Context, request source.Request) (source.Issued, error) {
	proof, err := o.proof(ctx)
	if err != nil {
		return source.Issued{}, source.Unavailable(err)
	}
	var audiences []string
	if request.Audience != "" {
		audiences = []string{request.Audience}
	}
	var lifetime *durationpb.Duration
	if o.issuer.Lifetime > 0 {
		lifetime = durationpb.New(o.issuer.Lifetime)
	}
	var token *tokenv1.Token
	if request.Subject == "" {
		answer, failed := o.tokens.IssueToken(ctx, &tokenv1.IssueTokenRequest{
			Client: proof, Audiences: audiences, Scopes: request.Scopes, Lifetime: lifetime,
		})
		token, err = answer.GetToken(), failed
	} else {
		answer, failed := o.tokens.ExchangeToken(ctx, &tokenv1.ExchangeTokenRequest{
			Client: proof, Audiences: audiences, Scopes: request.Scopes,
			Subject: &tokenv1.SecurityToken{Value: string(request.Subject), Type: tokenTypeAccess},
		})
		token, err = answer.GetToken(), failed
	}
	if err != nil {
		return source.Issued{}, issuerFailure(err)
	}
	return issuedOf(token)
}

func (o *overGRPC) proof(ctx context.Context) (*tokenv1.ClientAuthentication, error) {
	proof := &tokenv1.ClientAuthentication{ClientId: o.client.ID}
	if o.client.Assertion == nil {
		proof.Credential = &tokenv1.ClientAuthentication_ClientSecret{ClientSecret: string(o.client.Secret)}
		return proof, nil
	}
	assertion, err := o.client.Assertion(ctx)
	proof.Credential = &tokenv1.ClientAuthentication_Assertion{
		Assertion: &tokenv1.ClientAssertion{Type: assertionType, Value: assertion},
	}
	return proof, err
}

func issuedOf(token *tokenv1.Token) (source.Issued, error) {
	switch {
	case token == nil:
		return source.Issued{}, source.Unavailable(errors.New("the issuer's answer has no token"))
	case !strings.EqualFold(token.GetTokenType(), "bearer"):
		return source.Issued{}, source.Unavailable(errors.New("the issuer's token is not a bearer token"))
	}
	if err := source.CheckBearer(token.GetValue()); err != nil {
		return source.Issued{}, source.Unavailable(err)
	}
	issued := source.Issued{Token: source.Secret(token.GetValue()), ExpiresIn: source.LifetimeDefault}
	if lifetime := token.GetExpiresIn(); lifetime != nil && lifetime.AsDuration() >= 0 {
		issued.ExpiresIn = lifetime.AsDuration()
	}
	issued.RefreshAfter = max(token.GetRefreshAfter().AsDuration(), 0)
	return issued, nil
}

// issuerFailure reads the issuer's status. Its message is dropped: it is meant for the issuer's log.
func issuerFailure(err error) error {
	answer := status.Convert(err)
	failure := &source.Error{Cause: source.CauseAnswer}
	if reason := reasonOf(answer); reason != "" {
		failure.Refusal = refusalOfReason(reason)
		failure.Err = fmt.Errorf("the issuer answered %s: %s", answer.Code(), reason)
	} else {
		failure.Refusal, failure.Cause = refusalOfCode(answer.Code()), source.Unavailable(err).Cause
		failure.Err = fmt.Errorf("the issuer could not be asked: %s", answer.Code())
	}
	for _, detail := range answer.Details() {
		if retry, ok := detail.(*errdetails.RetryInfo); ok {
			failure.RetryAfter = max(retry.GetRetryDelay().AsDuration(), 0)
		}
	}
	return failure
}

func refusalOfReason(reason string) source.Refusal {
	switch reason {
	case reasonClientAuthenticationFailed, verify.ReasonCredentialsMissing:
		return source.RefusedClientAuthentication
	case reasonClientNotAuthorized, verify.ReasonCallerNotAllowed:
		return source.RefusedClient
	case "INVALID_SCOPE", verify.ReasonScopeInsufficient:
		return source.RefusedScope
	case "INVALID_TARGET":
		return source.RefusedTarget
	case reasonInvalidGrant:
		return source.RefusedGrant
	case "INVALID_REQUEST", "TOKEN_TOO_LARGE", "UNSUPPORTED_GRANT_TYPE":
		return source.RefusedRequest
	default:
		return source.NotRefused
	}
}

// refusalOfCode is for an issuer, or a proxy in front of it, that gives no reason.
func refusalOfCode(code codes.Code) source.Refusal {
	switch code {
	case codes.Unauthenticated:
		return source.RefusedClientAuthentication
	case codes.PermissionDenied:
		return source.RefusedClient
	case codes.InvalidArgument:
		return source.RefusedRequest
	default:
		return source.NotRefused
	}
}
