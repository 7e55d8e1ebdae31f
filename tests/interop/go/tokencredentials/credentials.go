// Package tokencredentials attaches access tokens to gRPC calls: it gets them from a TokenService with the
// client's secret (RFC 6749 section 4.4), keeps them, and renews them before they expire.
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

// No request to the issuer takes longer, whatever the call that caused it may wait.
const fetchTimeout = 30 * time.Second

// Config says whose tokens are asked for, and for what.
type Config struct {
	// Issuer is the token service's host:port. It is spoken to over TLS and nothing else.
	Issuer string
	// TLS holds the roots that the issuer's certificate is checked against; nil: the system's.
	TLS *tls.Config
	// ClientID and ClientSecret are the client's own.
	ClientID, ClientSecret string
	// Audience is the resource server that the tokens are for. One Credentials per audience.
	Audience string
	// Scopes to ask for; none: the client's default scopes.
	Scopes []string
}

// Credentials is a credentials.PerRPCCredentials. Safe for concurrent use.
type Credentials struct {
	fetch  func(context.Context) (*tokenv1.Token, error)
	clock  func() instant
	jitter func() float64
	close  func() error

	mutex    sync.Mutex
	current  *token   // the newest token, perhaps expired
	flight   *flight  // the request under way, where there is one
	failure  error    // what the last request came to, where it failed
	attempts int      // failures in a row
	retryAt  *instant // no request before this
}

type token struct {
	header           map[string]string
	renewAt, expires instant
}

// One request to the issuer, shared by every call that waits for it.
type flight struct {
	done  chan struct{}
	token *token
	err   error
}

// New makes credentials; the first token is fetched by the first call.
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

// Close ends the connection to the issuer.
func (c *Credentials) Close() error { return c.close() }

// String keeps the secret and the token out of every log.
func (c *Credentials) String() string { return "tokencredentials.Credentials" }

// GoString does the same for %#v.
func (c *Credentials) GoString() string { return c.String() }

// RequireTransportSecurity makes gRPC refuse these credentials on a plaintext connection.
func (c *Credentials) RequireTransportSecurity() bool { return true }

// GetRequestMetadata gives the authorization header of a token that has not expired. It waits for the
// issuer only where there is no such token, and then no longer than ctx.
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

// Decides on one reading of the clock, and starts a request where one is due and none is under way.
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
		// Not the caller's context: others wait for the same answer.
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
		// Both count from before the request: the network's time is taken off, never added.
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

// Full jitter: a fleet that failed together does not come back together.
func (c *Credentials) backoff(base, limit time.Duration) time.Duration {
	ceiling := min(limit, base<<min(c.attempts, 16))
	return time.Duration(c.jitter() * float64(ceiling))
}

// What a call is told, how long to hold back, and what the issuer asked for. The issuer's own status is
// never passed on: the caller did not call the issuer.
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
		// The client's registration is wrong, and stays so until someone acts: a second at least.
		return status.Error(codes.Unauthenticated, "no token: "+reason), time.Second, time.Minute, max(atLeast, time.Second)
	default:
		return status.Error(codes.Unavailable, "no token: "+reason), 100 * time.Millisecond, 30 * time.Second, atLeast
	}
}

// A time on both clocks. The monotonic one stands still while the machine is suspended; the other one can
// be set. A time is reached when either says so: a token is rather renewed too early than used too late.
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
