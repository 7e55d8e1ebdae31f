package tokens

import (
	"time"

	"google.golang.org/protobuf/reflect/protoregistry"

	"m2m.example/go/internal/refresh"
	"m2m.example/go/source"
)

type clientSettings struct {
	files             *protoregistry.Files
	env               refresh.Environment
	waitMax           time.Duration
	sharing, noReplay []string
	everyCall         *source.Request
	onBehalf          bool
	keepAuthorization bool
	plaintext         bool
}

// ClientOption is a setting of NewClient.
type ClientOption func(*clientSettings)

// Sharing makes the named methods share one token for each audience, with the scopes that they demand
// together. A name is a path, /package.Service/Method, or a prefix and a final "*".
func Sharing(methods ...string) ClientOption {
	return func(s *clientSettings) { s.sharing = append(s.sharing, methods...) }
}

// NeverReplay forbids that calls of these methods are sent twice, named as in Sharing. By default a unary
// call is sent once more, with a new token, if the callee's layer refused the old one before the handler.
func NeverReplay(methods ...string) ClientOption {
	return func(s *clientSettings) { s.noReplay = append(s.noReplay, methods...) }
}

// EveryCall sets the token for calls to methods that are not described here: services without annotations.
func EveryCall(request source.Request) ClientOption {
	return func(s *clientSettings) { s.everyCall = &request }
}

// WaitMax sets the longest wait of a call for a token, besides its own deadline. Default: 10 s.
func WaitMax(wait time.Duration) ClientOption {
	return func(s *clientSettings) { s.waitMax = wait }
}

// OnBehalfOfCaller exchanges the token of the caller whom the program serves (RFC 8693). The caller is that
// of the call's context: pass the handler's context on. Without a caller, a call that needs a token fails. If
// it used the program's own token, callers could act with the program's rights.
func OnBehalfOfCaller() ClientOption {
	return func(s *clientSettings) { s.onBehalf = true }
}

// KeepAuthorization keeps a call's own authorization metadata even if it may have been passed on by mistake.
// The token of the caller whom the program serves is still replaced.
func KeepAuthorization() ClientOption {
	return func(s *clientSettings) { s.keepAuthorization = true }
}

// AllowPlaintext sends tokens without TLS to any host. An attacker on the network path can then read and use
// them.
func AllowPlaintext() ClientOption {
	return func(s *clientSettings) { s.plaintext = true }
}

// CalledDescriptors replaces the linked-in descriptors of the called services.
func CalledDescriptors(files *protoregistry.Files) ClientOption {
	return func(s *clientSettings) { s.files = files }
}

// Clock replaces the time of day and the random draw, uniform in 0..1. For tests.
func Clock(wall func() time.Time, draw func() float64) ClientOption {
	return func(s *clientSettings) { s.env.Wall, s.env.Draw = wall, draw }
}
