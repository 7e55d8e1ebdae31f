// Package tokencredentials attaches access tokens to gRPC calls. It gets them from a TokenService with the
// client's secret (RFC 6749 section 4.4), caches them, and renews them before they expire.
//
//	credentials, err := tokencredentials.New(tokencredentials.Config{
//		Issuer: "localhost:8443", ClientID: "orders", ClientSecret: secret, Audience: "inventory",
//	})
//	conn, err := grpc.NewClient(target,
//		grpc.WithTransportCredentials(transport), grpc.WithPerRPCCredentials(credentials))
package tokencredentials

import (
	"context"
	"crypto/tls"
	"math/rand/v2"
	"sync"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	tokenv1 "token.example/interop/gen/m2m/token/v1"
)

// The time limit of a request to the issuer. It does not depend on the deadline of the call.
const fetchTimeout = 30 * time.Second

// Config has the settings of the issuer, the client and its tokens.
type Config struct {
	// Issuer is the token service's host:port. The connection uses TLS.
	Issuer string
	// TLS has the trusted roots for the issuer's certificate. Nil means the system's roots.
	TLS *tls.Config
	// ClientID and ClientSecret identify the client.
	ClientID, ClientSecret string
	// Audience is the audience of the tokens. Each audience needs its own Credentials.
	Audience string
	// Scopes are the requested scopes. Empty means the client's default scopes.
	Scopes []string
}

// Credentials is a credentials.PerRPCCredentials. It is safe for concurrent use.
type Credentials struct {
	fetch  func(context.Context) (*tokenv1.Token, error)
	clock  func() instant
	jitter func() float64
	close  func() error

	mutex    sync.Mutex
	current  *token   // the newest token, which may have expired
	flight   *flight  // the request in flight, if any
	failure  error    // the error of the last request, if it failed
	attempts int      // failures in a row
	retryAt  *instant // no request before this
}

type token struct {
	header           map[string]string
	renewAt, expires instant
}

// flight is one request to the issuer, shared by all waiting calls.
type flight struct {
	done  chan struct{}
	token *token
	err   error
}

// New returns credentials. The first call fetches the first token.
func New(config Config) (*Credentials, error) {
	conn, err := grpc.NewClient(config.Issuer, grpc.WithTransportCredentials(credentials.NewTLS(config.TLS)))
	if err != nil {
		return nil, err
	}
	issuer := tokenv1.NewTokenServiceClient(conn)
	request := &tokenv1.IssueTokenRequest{
		Client: &tokenv1.ClientAuthentication{
			ClientId:   config.ClientID,
			Credential: &tokenv1.ClientAuthentication_ClientSecret{ClientSecret: config.ClientSecret},
		},
		Audiences: []string{config.Audience},
		Scopes:    config.Scopes,
	}
	c := newCredentials(func(ctx context.Context) (*tokenv1.Token, error) {
		response, err := issuer.IssueToken(ctx, request)
		return response.GetToken(), err
	}, systemClock(), rand.Float64)
	c.close = conn.Close
	return c, nil
}

func newCredentials(
	fetch func(context.Context) (*tokenv1.Token, error), clock func() instant, jitter func() float64,
) *Credentials {
	return &Credentials{fetch: fetch, clock: clock, jitter: jitter, close: func() error { return nil }}
}

// Close closes the connection to the issuer.
func (c *Credentials) Close() error { return c.close() }

// String keeps the secret and the token out of every log.
func (c *Credentials) String() string { return "tokencredentials.Credentials" }

// GoString does the same for %#v.
func (c *Credentials) GoString() string { return c.String() }

// RequireTransportSecurity makes gRPC refuse these credentials on a plaintext connection.
func (c *Credentials) RequireTransportSecurity() bool { return true }

// GetRequestMetadata returns the authorization header of an unexpired token. It waits for the issuer only if
// there is none, and no longer than ctx.
func (c *Credentials) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	info, _ := credentials.RequestInfoFromContext(ctx)
	if err := credentials.CheckSecurityLevel(info.AuthInfo, credentials.PrivacyAndIntegrity); err != nil {
		return nil, status.Error(codes.Unauthenticated, "a token needs an encrypted connection")
	}
	return c.header(ctx)
}

func (c *Credentials) header(ctx context.Context) (map[string]string, error) {
	usable, flight, failure := c.look()
	if usable != nil {
		return usable.header, nil
	}
	if flight == nil {
		return nil, failure
	}
	select {
	case <-ctx.Done():
		return nil, status.FromContextError(ctx.Err()).Err()
	case <-flight.done:
	}
	if flight.err != nil {
		return nil, flight.err
	}
	if c.clock().reached(flight.token.expires) {
		return nil, status.Error(codes.Unavailable, "no token: it expired on its way")
	}
	return flight.token.header, nil
}

// Decides with one reading of the clock. Starts a request if one is due and none is in flight.
func (c *Credentials) look() (*token, *flight, error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	now := c.clock()
	usable := c.current
	if usable != nil && now.reached(usable.expires) {
		usable = nil
	}
	due := usable == nil || now.reached(usable.renewAt)
	if due && c.flight == nil && (c.retryAt == nil || now.reached(*c.retryAt)) {
		c.flight = &flight{done: make(chan struct{})}
		// This is not the caller's context, because other calls wait for the same answer.
		go c.run(c.flight, now)
	}
	return usable, c.flight, c.failure
}

func (c *Credentials) run(flight *flight, asked instant) {
	ctx, cancel := context.WithTimeout(context.Background(), fetchTimeout)
	defer cancel()
	answer, err := c.fetch(ctx)

	c.mutex.Lock()
	defer c.mutex.Unlock()
	if err == nil {
		// Both count from before the request, so the time on the network shortens them.
		flight.token = &token{
			header:  map[string]string{"authorization": "Bearer " + answer.GetValue()},
			renewAt: asked.add(answer.GetRefreshAfter().AsDuration()),
			expires: asked.add(answer.GetExpiresIn().AsDuration()),
		}
		c.current, c.failure, c.attempts, c.retryAt = flight.token, nil, 0, nil
	} else {
		failure, base, limit, atLeast := classify(err)
		retryAt := c.clock().add(max(c.backoff(base, limit), atLeast))
		flight.err = failure
		c.failure, c.retryAt = failure, &retryAt
		c.attempts++
	}
	c.flight = nil
	close(flight.done)
}

// Full jitter, so that clients that failed together do not retry together.
func (c *Credentials) backoff(base, limit time.Duration) time.Duration {
	ceiling := min(limit, base<<min(c.attempts, 16))
	return time.Duration(c.jitter() * float64(ceiling))
}

// Returns the error for a call, the time to wait, and the time that the issuer asked for. The issuer's own
// status is never forwarded, because the caller did not call the issuer.
func classify(err error) (failure error, base, limit, atLeast time.Duration) {
	answer := status.Convert(err)
	reason := answer.Code().String()
	for _, detail := range answer.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			if detail.GetDomain() == "m2m.token.v1" {
				reason = detail.GetReason()
			}
		case *errdetails.RetryInfo:
			atLeast = detail.GetRetryDelay().AsDuration()
		}
	}
	switch answer.Code() {
	case codes.Unauthenticated, codes.PermissionDenied, codes.InvalidArgument:
		// The client's registration is wrong until an operator repairs it, so wait for at least a second.
		return status.Error(codes.Unauthenticated, "no token: "+reason), time.Second, time.Minute, max(atLeast, time.Second)
	default:
		return status.Error(codes.Unavailable, "no token: "+reason), 100 * time.Millisecond, 30 * time.Second, atLeast
	}
}

// A time on both clocks. The monotonic clock stops while the machine is suspended. The other clock can be set.
// A time is reached once either clock has reached it: it is safer to renew a token too early than to use it too
// late.
type instant struct {
	monotonic time.Duration
	wall      time.Time
}

func systemClock() func() instant {
	start := time.Now()
	return func() instant {
		now := time.Now()
		return instant{now.Sub(start), now.Round(0)}
	}
}

func (i instant) add(d time.Duration) instant { return instant{i.monotonic + d, i.wall.Add(d)} }

func (i instant) reached(other instant) bool {
	return i.monotonic >= other.monotonic || !i.wall.Before(other.wall)
}
