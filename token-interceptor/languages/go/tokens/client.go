package tokens

import (
	"cmp"
	"container/list"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/reflect/protoregistry"

	"m2m.example/go/internal/destination"
	"m2m.example/go/internal/refresh"
	"m2m.example/go/policy"
	"m2m.example/go/source"
)

const (
	// waitMaxDefault is the longest wait of a call without a deadline for a token.
	waitMaxDefault = 10 * time.Second
	// optionalWaitMax is the longest wait of a call that may go without its token. A token usually comes much
	// sooner.
	optionalWaitMax = time.Second
	// occasionalMax is the number of tokens of callers and of single calls that are held.
	occasionalMax = 10_000
)

// Client attaches to every call the token that the called method demands. It obtains tokens from a source,
// shares them between calls, and renews them in the background, ahead of expiry.
//
// Each method has its own request: the audience of its service, and the scopes that it demands. So a token
// that leaks from a read cannot write. Methods with equal requests share a token. Public methods, and methods
// without a policy, get no token. A public method with identify gets one if the source has one; else the call
// is anonymous. It is safe for concurrent use.
type Client struct {
	source    source.Source
	settings  clientSettings
	directory *policy.Directory
	shared    map[string]source.Request // by path
	noReplay  map[string]bool           // by path
	routes    sync.Map                  // of *route, by path
	loopback  sync.Map                  // of bool, by target

	mutex      sync.Mutex
	standing   map[string]*refresh.Token // by key of the request
	occasional map[string]*list.Element  // of *refresh.Token
	recent     list.List                 // the most recently used first
	closed     bool
}

// NewClient returns a client that takes its tokens from source. It fails if Sharing or NeverReplay name no
// method that demands a token. Call Close when it is no longer needed.
func NewClient(from source.Source, options ...ClientOption) (*Client, error) {
	c := &Client{
		source: from, standing: map[string]*refresh.Token{}, occasional: map[string]*list.Element{},
		shared: map[string]source.Request{}, noReplay: map[string]bool{},
		settings: clientSettings{files: protoregistry.GlobalFiles, env: refresh.System(), waitMax: waitMaxDefault},
	}
	if from == nil {
		return nil, errors.New("tokens.NewClient: there is no source")
	}
	for _, option := range options {
		option(&c.settings)
	}
	c.directory = policy.NewDirectory(c.settings.files)
	for _, pattern := range c.settings.noReplay {
		paths, err := c.demanding(pattern)
		if err != nil {
			return nil, err
		}
		for _, path := range paths {
			c.noReplay[path] = true
		}
	}
	return c, c.share()
}

// share joins the requests of the methods that share a token.
func (c *Client) share() error {
	var paths []string
	joined := map[string]source.Request{} // by audience
	for _, pattern := range c.settings.sharing {
		named, err := c.demanding(pattern)
		if err != nil {
			return err
		}
		paths = append(paths, named...)
	}
	slices.Sort(paths)
	for _, path := range slices.Compact(paths) {
		method, _ := c.directory.Lookup(path)
		request, known := joined[method.Audience]
		own := requestOf(method)
		if !known {
			request = own
		}
		request.Scopes = append(slices.Clone(request.Scopes), own.Scopes...)
		if request.MaxAge == 0 || (own.MaxAge > 0 && own.MaxAge < request.MaxAge) {
			request.MaxAge = own.MaxAge
		}
		joined[method.Audience] = request.Normal()
	}
	for _, path := range paths {
		method, _ := c.directory.Lookup(path)
		c.shared[path] = joined[method.Audience]
	}
	return nil
}

// demanding returns the paths of the methods that a pattern names and that take a token.
func (c *Client) demanding(pattern string) ([]string, error) {
	paths := slices.DeleteFunc(c.directory.Paths(pattern), func(path string) bool {
		method, declared := c.directory.Lookup(path)
		return !declared || !takesToken(method)
	})
	if len(paths) == 0 {
		return nil, fmt.Errorf("tokens.NewClient: %q names no method that demands a token", pattern)
	}
	return paths, nil
}

func takesToken(method policy.Method) bool {
	return method.Access == policy.Token || method.Access == policy.Identify
}

func requestOf(method policy.Method) source.Request {
	return source.Request{
		Audience: method.Audience, Scopes: method.Requirement.RequestedScopes(), MaxAge: method.Requirement.MaxTokenAge,
	}
}

// Close ends the renewal of all tokens. Calls that need one fail from then on.
func (c *Client) Close() {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.closed = true
	for _, token := range c.standing {
		token.Close()
	}
	for _, element := range c.occasional {
		element.Value.(*refresh.Token).Close()
	}
}

// Format keeps the source's secret out of every log.
func (*Client) Format(state fmt.State, _ rune) { _, _ = state.Write([]byte("tokens.Client")) }

// DialOptions returns the options of a connection whose calls carry tokens: interceptors for unary calls and
// streams.
func (c *Client) DialOptions() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithChainUnaryInterceptor(c.UnaryInterceptor()), grpc.WithChainStreamInterceptor(c.StreamInterceptor()),
	}
}

// NewConn is grpc.NewClient with DialOptions.
func (c *Client) NewConn(target string, options ...grpc.DialOption) (*grpc.ClientConn, error) {
	return grpc.NewClient(target, append(c.DialOptions(), options...)...)
}

// Token returns the value of an authorization field for a request, such as "Bearer …", for calls other than
// gRPC. It is a secret. It waits no longer than ctx.
func (c *Client) Token(ctx context.Context, request source.Request) (string, error) {
	ready, err := c.tokenOf(request).Get(ctx)
	return ready.Header, err
}

// route is the token of a method's calls. It is resolved once, so that a call only looks it up.
type route struct {
	request    *source.Request // nil: the calls carry no token
	token      *refresh.Token  // nil on behalf of callers: each has a token of its own
	optional   bool            // the method accepts a call without a token too
	replayable bool
}

func (c *Client) routeOf(path string) *route {
	if known, ok := c.routes.Load(path); ok {
		return known.(*route)
	}
	found := c.resolve(path)
	if found.request != nil && !c.settings.onBehalf {
		found.token = c.tokenOf(*found.request)
	}
	known, _ := c.routes.LoadOrStore(path, found)
	return known.(*route)
}

func (c *Client) resolve(path string) *route {
	method, declared := c.directory.Lookup(path)
	switch {
	case !declared && c.settings.everyCall != nil:
		// A method without a policy may be a stream.
		return &route{request: c.settings.everyCall}
	case !declared || !takesToken(method):
		return &route{}
	}
	request, shared := c.shared[path]
	if !shared {
		request = requestOf(method)
	}
	return &route{
		request: &request, optional: method.Access == policy.Identify, replayable: method.Unary() && !c.noReplay[path],
	}
}

// isSecure returns true if calls to target need TLS.
func (c *Client) isSecure(target string) bool {
	if c.settings.plaintext {
		return false
	}
	if known, ok := c.loopback.Load(target); ok {
		return !known.(bool)
	}
	loopback := destination.IsLoopbackTarget(target)
	c.loopback.Store(target, loopback)
	return !loopback
}

// tokenOf returns the token of a request. Equal requests share one. Those of callers are bounded in number,
// and renewed only while in use.
func (c *Client) tokenOf(request source.Request) *refresh.Token {
	request = request.Normal()
	key := request.Key()
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if request.Subject == "" {
		token := c.standing[key]
		if token == nil {
			// A token with a maximum age would be renewed without end.
			token = c.newToken(request, request.MaxAge > 0)
			c.standing[key] = token
		}
		return token
	}
	if element := c.occasional[key]; element != nil {
		c.recent.MoveToFront(element)
		return element.Value.(*refresh.Token)
	}
	token := c.newToken(request, true)
	c.occasional[key] = c.recent.PushFront(token)
	for len(c.occasional) > occasionalMax {
		oldest := c.recent.Remove(c.recent.Back()).(*refresh.Token)
		delete(c.occasional, oldest.Request().Key())
		oldest.Close()
	}
	return token
}

func (c *Client) newToken(request source.Request, whileUsed bool) *refresh.Token {
	token := refresh.New(c.source, request, whileUsed, c.settings.env)
	if c.closed {
		token.Close()
	}
	return token
}

// deadline returns the time until which a call waits for a token, and true if it is the call's own.
func (c *Client) deadline(ctx context.Context, optional bool) (time.Time, bool) {
	waitMax := cmp.Or(c.settings.waitMax, waitMaxDefault)
	if optional {
		waitMax = min(waitMax, optionalWaitMax)
	}
	patience := time.Now().Add(waitMax)
	if own, has := ctx.Deadline(); has && !own.After(patience) {
		return own, true
	}
	return patience, false
}
