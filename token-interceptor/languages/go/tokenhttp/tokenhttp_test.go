package tokenhttp

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	catalogv1 "m2m.example/go/conformance/catalog/v1"
	"m2m.example/go/internal/testissuer"
	"m2m.example/go/policy"
	"m2m.example/go/verify"
)

const get = "/conformance.catalog.v1.Catalog/Get"

type world struct {
	issuer *testissuer.Issuer
	guard  *Guard
	clock  atomic.Int64
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{issuer: testissuer.New(t, "https://issuer.example")}
	w.clock.Store(1_800_000_000)
	now := func() time.Time { return time.Unix(w.clock.Load(), 0) }
	verifier, err := verify.New(verify.Config{Issuers: []verify.TrustedIssuer{w.issuer.Trusted()}, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(verifier.Close)
	if w.guard, err = New(verifier, []string{catalogv1.Catalog_ServiceDesc.ServiceName}); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) token(changes map[string]any) string { return w.issuer.Token(w.clock.Load(), changes) }

// who answers with the client ID of the caller.
var who = http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
	answer.Header().Set(markName, "before-handler "+get)
	if caller, ok := verify.CallerFrom(request.Context()); ok {
		_, _ = io.WriteString(answer, caller.ClientID())
	}
})

func ask(handler http.Handler, path, kind, token string) *httptest.ResponseRecorder {
	request := httptest.NewRequest(http.MethodPost, path, nil)
	request.Header.Set("Content-Type", kind)
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, request)
	return answer
}

func TestProceduresAreGuardedByTheirPolicy(t *testing.T) {
	w := newWorld(t)
	handler := w.guard.Procedures(who)
	for name, expected := range map[string]struct {
		path, token string
		status      int
		body        string
	}{
		"allowed":     {get, w.token(nil), 200, "orders"},
		"public":      {"/conformance.catalog.v1.Catalog/Ping", "", 200, ""},
		"anonymous":   {"/conformance.catalog.v1.Catalog/Greet", "", 200, ""},
		"identified":  {"/conformance.catalog.v1.Catalog/Greet", w.token(nil), 200, "orders"},
		"rejected":    {"/conformance.catalog.v1.Catalog/Greet", "rubbish", 401, "TOKEN_INVALID"},
		"no token":    {get, "", 401, "CREDENTIALS_MISSING"},
		"no scope":    {get, w.token(map[string]any{"scope": "x"}), 403, "SCOPE_INSUFFICIENT"},
		"undeclared":  {"/conformance.catalog.v1.Catalog/Other", w.token(nil), 403, "METHOD_NOT_DECLARED"},
		"encoded":     {"/conformance.catalog.v1.Catalog/Pin%67", w.token(nil), 403, "METHOD_NOT_DECLARED"},
		"one segment": {"/conformance.catalog.v1.Catalog%2FPing", w.token(nil), 403, "METHOD_NOT_DECLARED"},
		"spelling":    {"//conformance.catalog.v1.Catalog/Get", w.token(nil), 403, "METHOD_NOT_DECLARED"},
	} {
		answer := ask(handler, expected.path, "application/json", expected.token)
		if answer.Code != expected.status || !strings.Contains(answer.Body.String(), expected.body) {
			t.Error(name, answer.Code, answer.Body)
		}
		if answer.Header().Get(markName) != "" {
			t.Error(name, "a handler's mark leaves the server")
		}
	}
}

func TestARefusalHasTheFormOfItsProtocol(t *testing.T) {
	w := newWorld(t)
	handler := w.guard.Procedures(who)
	plain := ask(handler, get, "application/json", "a.b.c")
	var body map[string]any
	if err := json.Unmarshal(plain.Body.Bytes(), &body); err != nil || body["code"] != "unauthenticated" ||
		body["error"] != "invalid_token" || body["reason"] != "TOKEN_INVALID" || len(body["details"].([]any)) != 1 {
		t.Error(body, err)
	}
	if challenge := plain.Header().Get("WWW-Authenticate"); !strings.HasPrefix(challenge, `Bearer error="invalid_token"`) {
		t.Error(challenge)
	}
	grpc := ask(handler, get, "application/grpc+proto", "a.b.c")
	if grpc.Code != 200 || grpc.Header().Get("Grpc-Status") != "16" || grpc.Header().Get("Grpc-Message") != "the token is not valid" ||
		grpc.Header().Get(markName) != "before-handler "+get || grpc.Body.Len() != 0 {
		t.Error(grpc.Code, grpc.Header())
	}
	if web := ask(handler, get, "application/grpc-web+proto", ""); web.Header().Get("Grpc-Status") != "16" || web.Header().Get(markName) != "" {
		t.Error(web.Header())
	}
	stream := ask(handler, get, "application/connect+json", "")
	if text := stream.Body.String(); stream.Code != 200 || text[0] != 2 || !strings.Contains(text, `"code":"unauthenticated"`) {
		t.Error(stream.Code, text)
	}
}

func TestRoutesWithoutAProtoAreGuardedToo(t *testing.T) {
	w := newWorld(t)
	route := w.guard.Require("catalog", policy.Requirement{AllScopes: []string{"catalog.export"}}, who)
	if answer := ask(route, "/export", "", w.token(nil)); answer.Code != 403 {
		t.Error(answer.Code)
	}
	if answer := ask(route, "/export", "", w.token(map[string]any{"scope": "catalog.export"})); answer.Code != 200 {
		t.Error(answer.Code)
	}
	method, err := w.guard.Method(get, who)
	if err != nil {
		t.Fatal(err)
	}
	if answer := ask(method, "/v1/items/1", "", w.token(nil)); answer.Code != 200 || answer.Body.String() != "orders" {
		t.Error(answer.Code)
	}
	if _, err := w.guard.Method("/a.B/C", who); err == nil {
		t.Error("a method without a policy guards nothing")
	}
}

func TestAResponseThatGoesOnEndsWithItsToken(t *testing.T) {
	w := newWorld(t)
	endless := http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
		_, _ = io.WriteString(answer, "first\n")
		_ = http.NewResponseController(answer).Flush()
		<-request.Context().Done()
	})
	server := httptest.NewServer(w.guard.Require("catalog", policy.Requirement{}, endless))
	defer server.Close()
	request, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
	request.Header.Set("Authorization", "Bearer "+w.token(nil))
	answer, err := server.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body := bufio.NewReader(answer.Body)
	if first, err := body.ReadString('\n'); err != nil || first != "first\n" {
		t.Fatal(first, err)
	}
	began := time.Now()
	w.clock.Add(305)
	if _, err := body.ReadString('\n'); err == nil || time.Since(began) > 4*time.Second {
		t.Fatal(err, time.Since(began))
	}
}
