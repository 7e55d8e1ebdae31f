// Package tokenhttp guards net/http handlers by the m2m.auth.v1 annotations, without grpc-go: Connect
// handlers, an in-process grpc-gateway, and plain routes.
//
//	guard, err := tokenhttp.New(verifier, []string{inventoryv1connect.InventoryServiceName})
//	mux := http.NewServeMux()
//	mux.Handle(inventoryv1connect.NewInventoryServiceHandler(server))
//	http.ListenAndServe(address, guard.Procedures(mux))
//
// Handlers read the caller with verify.CallerFrom. A refusal has the form of the request's protocol: gRPC,
// gRPC-Web, Connect, or a small JSON object with a challenge.
package tokenhttp

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"m2m.example/go/policy"
	"m2m.example/go/verify"
)

// Guard guards HTTP handlers. It is safe for concurrent use.
type Guard struct {
	guard *verify.Guard
	table *policy.Table
}

// New returns a guard for the methods of services in the program's linked-in descriptors. It fails as
// policy.Linked and verify.NewGuard do.
func New(verifier *verify.Verifier, services []string, open ...string) (*Guard, error) {
	table, err := policy.Linked(services, open)
	if err != nil {
		return nil, err
	}
	return NewOf(verifier, table, verify.GuardConfig{})
}

// NewOf returns a guard for a policy of the program's own, and other settings.
func NewOf(verifier *verify.Verifier, table *policy.Table, config verify.GuardConfig) (*Guard, error) {
	guard, err := verify.NewGuard(verifier, table, config)
	if err != nil {
		return nil, err
	}
	return &Guard{guard, table}, nil
}

// Procedures guards handlers whose paths are those of methods, /package.Service/Method, as Connect's are. A
// path without a policy is denied.
func (g *Guard) Procedures(next http.Handler) http.Handler {
	return http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
		// As it was sent: another spelling of a path is another path, and has no policy.
		path := request.URL.EscapedPath()
		method, declared := g.table.Lookup(path)
		if !declared {
			method = policy.Method{Path: path}
		}
		g.serve(answer, request, method, next)
	})
}

// Method guards one route by the policy of a method. Use it for the routes of a grpc-gateway that calls its
// server in process, and so passes no gRPC interceptor.
func (g *Guard) Method(path string, next http.Handler) (http.Handler, error) {
	method, declared := g.table.Lookup(path)
	if !declared {
		return nil, errors.New("tokenhttp: " + path + " has no policy")
	}
	return http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
		g.serve(answer, request, method, next)
	}), nil
}

// Require guards a route that no .proto declares.
func (g *Guard) Require(audience string, requirement policy.Requirement, next http.Handler) http.Handler {
	// HTTP has no kinds of methods. A response that goes on ends with its token.
	method := policy.Method{
		Audience: audience, Access: policy.Token, Requirement: requirement, ClientStreaming: true, ServerStreaming: true,
	}
	return http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
		method := method
		method.Path = request.URL.Path
		g.serve(answer, request, method, next)
	})
}

func (g *Guard) serve(answer http.ResponseWriter, request *http.Request, method policy.Method, next http.Handler) {
	decision := g.guard.DecideMethod(request.Context(), method, request.Header.Values("Authorization"))
	if decision.Refusal != nil {
		refuse(answer, request, decision.Refusal)
		return
	}
	ctx, writer := request.Context(), &unmarked{answer}
	defer writer.clean() // trailers, and the header of an empty answer
	if decision.Caller == nil {
		next.ServeHTTP(writer, request)
		return
	}
	ctx = verify.WithCaller(ctx, decision.Caller)
	if decision.EndsWithToken {
		// The body of the request and the response end by it too: net/http's own, and Connect's.
		var cancel context.CancelCauseFunc
		ctx, cancel = context.WithCancelCause(ctx)
		defer cancel(nil)
		go func() {
			if refusal := decision.Caller.Ended(ctx); refusal != nil {
				g.guard.RecordEnd(decision.Caller, refusal)
				cancel(refusal)
				controller := http.NewResponseController(answer)
				_ = controller.SetReadDeadline(time.Now())
				_ = controller.SetWriteDeadline(time.Now().Add(time.Second))
			}
		}()
	}
	next.ServeHTTP(writer, request.WithContext(ctx))
}

// markName is the trailer of the server layer's own refusals, which a handler must not set.
const markName = "Token-Refused"

// unmarked removes the mark from a handler's answer.
type unmarked struct{ http.ResponseWriter }

// Unwrap lets http.ResponseController find the methods of the writer below.
func (u *unmarked) Unwrap() http.ResponseWriter { return u.ResponseWriter }

func (u *unmarked) clean() {
	for name := range u.Header() {
		if strings.EqualFold(strings.TrimPrefix(name, http.TrailerPrefix), markName) {
			delete(u.Header(), name)
		}
	}
}

// WriteHeader sends the header without a mark.
func (u *unmarked) WriteHeader(status int) {
	u.clean()
	u.ResponseWriter.WriteHeader(status)
}

// Write writes a part of the body.
func (u *unmarked) Write(part []byte) (int, error) {
	u.clean()
	return u.ResponseWriter.Write(part)
}

// Flush sends what was written so far.
func (u *unmarked) Flush() {
	u.clean()
	_ = http.NewResponseController(u.ResponseWriter).Flush()
}

// refuse answers a refused request in the form of its protocol.
func refuse(answer http.ResponseWriter, request *http.Request, refusal *verify.Refusal) {
	header := answer.Header()
	if challenge := refusal.Challenge(); challenge != "" {
		header.Set("WWW-Authenticate", challenge)
	}
	kind, _, _ := strings.Cut(strings.ToLower(request.Header.Get("Content-Type")), ";")
	kind = strings.TrimSpace(kind)
	isOf := func(family string) bool { return kind == family || strings.HasPrefix(kind, family+"+") }
	switch {
	case isOf("application/grpc"), isOf("application/grpc-web"), isOf("application/grpc-web-text"):
		header.Set("Content-Type", kind)
		grpcStatus(header, refusal)
		if refusal.IsRenewable() {
			header.Set(markName, "before-handler "+request.URL.Path)
		}
		answer.WriteHeader(http.StatusOK)
	case strings.HasPrefix(kind, "application/connect+"):
		header.Set("Content-Type", kind)
		answer.WriteHeader(http.StatusOK)
		text, _ := json.Marshal(map[string]any{"error": connectError(refusal)})
		_, _ = answer.Write(append(binary.BigEndian.AppendUint32([]byte{2}, uint32(len(text))), text...))
	default:
		header.Set("Content-Type", "application/json")
		header.Set("Cache-Control", "no-store")
		if wait := refusal.RetryAfter(); wait > 0 {
			header.Set("Retry-After", strconv.Itoa(int((wait+time.Second-1)/time.Second)))
		}
		body := connectError(refusal)
		body["error"], body["error_description"], body["reason"] = refusal.OAuthError(), refusal.Sentence(), refusal.Reason()
		answer.WriteHeader(refusal.HTTPStatus())
		_ = json.NewEncoder(answer).Encode(body)
	}
}

func details(refusal *verify.Refusal) []*anypb.Any {
	messages := []proto.Message{&errdetails.ErrorInfo{
		Reason: refusal.Reason(), Domain: verify.Domain, Metadata: refusal.Metadata(),
	}}
	if wait := refusal.RetryAfter(); wait > 0 {
		messages = append(messages, &errdetails.RetryInfo{RetryDelay: durationpb.New(wait)})
	}
	var packed []*anypb.Any
	for _, message := range messages {
		if one, err := anypb.New(message); err == nil {
			packed = append(packed, one)
		}
	}
	return packed
}

// grpcStatus writes the status into the head, as there is no message: gRPC's "Trailers-Only".
func grpcStatus(header http.Header, refusal *verify.Refusal) {
	header.Set("Grpc-Status", strconv.FormatUint(uint64(refusal.Code()), 10))
	header.Set("Grpc-Message", strings.ReplaceAll(url.QueryEscape(refusal.Sentence()), "+", " "))
	text, err := proto.Marshal(&statuspb.Status{
		Code: int32(refusal.Code()), Message: refusal.Sentence(), Details: details(refusal),
	})
	if err == nil {
		header.Set("Grpc-Status-Details-Bin", base64.RawStdEncoding.EncodeToString(text))
	}
}

// connectError is the error of the Connect protocol, which clients of plain HTTP can read too.
func connectError(refusal *verify.Refusal) map[string]any {
	codes := map[uint32]string{7: "permission_denied", 14: "unavailable", 16: "unauthenticated"}
	var packed []map[string]string
	for _, detail := range details(refusal) {
		packed = append(packed, map[string]string{
			"type":  strings.TrimPrefix(detail.GetTypeUrl(), "type.googleapis.com/"),
			"value": base64.RawStdEncoding.EncodeToString(detail.GetValue()),
		})
	}
	return map[string]any{"code": codes[refusal.Code()], "message": refusal.Sentence(), "details": packed}
}
