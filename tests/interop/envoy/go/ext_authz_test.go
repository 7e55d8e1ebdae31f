// Package envoy checks the answers of token-server to Envoy, and its output for Envoy and Istio, against the
// types that those projects publish for Go.
package envoy

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
)

const service = "/inventory.v1.InventoryService/"

func proxy(t *testing.T) authv3.AuthorizationClient {
	t.Helper()
	connection, err := grpc.NewClient(os.Getenv("EXT_AUTHZ"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	return authv3.NewAuthorizationClient(connection)
}

// token returns a token of the example client, which may only read the inventory.
func token(t *testing.T) string {
	t.Helper()
	roots := x509.NewCertPool()
	pem, err := os.ReadFile(os.Getenv("TOKEN_CA_FILE"))
	if err != nil || !roots.AppendCertsFromPEM(pem) {
		t.Fatal("no CA:", err)
	}
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	answer, err := client.PostForm(os.Getenv("TOKEN_ISSUER")+"/oauth/token", url.Values{
		"grant_type":    {"client_credentials"},
		"client_id":     {os.Getenv("TOKEN_CLIENT_ID")},
		"client_secret": {os.Getenv("TOKEN_CLIENT_SECRET")},
		"audience":      {"inventory"},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var body struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&body); err != nil || body.AccessToken == "" {
		t.Fatal("no token:", answer.Status, err)
	}
	return body.AccessToken
}

// check asks as Envoy does, with either of its two forms of header fields.
func check(t *testing.T, path string, raw bool, fields ...string) *authv3.CheckResponse {
	t.Helper()
	fields = append(fields, ":path", path, "content-type", "application/grpc")
	request := &authv3.AttributeContext_HttpRequest{Id: "1", Method: "POST", Path: path, Protocol: "HTTP/2"}
	if raw {
		request.HeaderMap = &corev3.HeaderMap{}
	} else {
		request.Headers = map[string]string{}
	}
	for pair := range slices.Chunk(fields, 2) {
		if raw {
			field := &corev3.HeaderValue{Key: pair[0], RawValue: []byte(pair[1])}
			request.HeaderMap.Headers = append(request.HeaderMap.Headers, field)
		} else {
			request.Headers[pair[0]] = pair[1]
		}
	}
	answer, err := proxy(t).Check(t.Context(), &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source:  &authv3.AttributeContext_Peer{Principal: "spiffe://a/b"},
		Request: &authv3.AttributeContext_Request{Http: request},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := answer.ValidateAll(); err != nil {
		t.Fatal("not as Envoy has it:", err)
	}
	if unknown := answer.ProtoReflect().GetUnknown(); len(unknown) > 0 {
		t.Fatalf("fields that Envoy does not know: %x", unknown)
	}
	return answer
}

func told(options []*corev3.HeaderValueOption) map[string]string {
	fields := map[string]string{}
	for _, option := range options {
		fields[option.Header.Key] = option.Header.Value
	}
	return fields
}

func TestLetsAGoodTokenThroughAndTellsWhoCalls(t *testing.T) {
	for _, raw := range []bool{false, true} {
		answer := check(t, service+"GetItem", raw, "authorization", "Bearer "+token(t), "x-token-actor", "root")
		ok := answer.GetOkResponse()
		if codes.Code(answer.Status.Code) != codes.OK || ok == nil {
			t.Fatal(answer)
		}
		fields := told(ok.Headers)
		if fields["x-token-client-id"] != os.Getenv("TOKEN_CLIENT_ID") || fields["x-token-scopes"] != "inventory.read" {
			t.Error(fields)
		}
		for _, option := range ok.Headers {
			if option.AppendAction != corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD {
				t.Error("adds to what the client sent:", option)
			}
		}
		if !slices.Equal(ok.HeadersToRemove, []string{"x-token-actor"}) {
			t.Error(ok.HeadersToRemove)
		}
	}
}

func TestRefusesInTheTermsOfGRPC(t *testing.T) {
	good := "Bearer " + token(t)
	for _, refused := range []struct {
		path, bearer, code string
		status             typev3.StatusCode
	}{
		{service + "GetItem", "", "16", typev3.StatusCode_Unauthorized},
		{service + "GetItem", "Bearer a.b.c", "16", typev3.StatusCode_Unauthorized},
		{service + "GetItem", good[:len(good)-8], "16", typev3.StatusCode_Unauthorized},
		{service + "DeleteItem", good, "7", typev3.StatusCode_Forbidden},
		{service + "Other", good, "7", typev3.StatusCode_Forbidden},
		{"/", good, "7", typev3.StatusCode_Forbidden},
	} {
		fields := []string{"authorization", refused.bearer}
		if refused.bearer == "" {
			fields = nil
		}
		answer := check(t, refused.path, false, fields...)
		denied := answer.GetDeniedResponse()
		if denied == nil || codes.Code(answer.Status.Code) == codes.OK || denied.Status.Code != refused.status {
			t.Fatal(refused, answer)
		}
		fieldsTold := told(denied.Headers)
		if fieldsTold["grpc-status"] != refused.code || fieldsTold["grpc-status-details-bin"] == "" {
			t.Error(refused, fieldsTold)
		}
		if refused.code == "16" && !strings.HasPrefix(fieldsTold["www-authenticate"], "Bearer") {
			t.Error(refused, fieldsTold)
		}
	}
}

func TestRefusesEveryForgedToken(t *testing.T) {
	file, err := os.ReadFile("../../../../token-interceptor/testdata/forgeries.json")
	if err != nil {
		t.Fatal(err)
	}
	var gallery struct {
		Forgeries []struct{ Name, Token string }
	}
	if err := json.Unmarshal(file, &gallery); err != nil || len(gallery.Forgeries) < 100 {
		t.Fatal(len(gallery.Forgeries), err)
	}
	for _, forgery := range gallery.Forgeries {
		if answer := check(t, service+"GetItem", true, "authorization", "Bearer "+forgery.Token); answer.GetDeniedResponse() == nil {
			t.Error(forgery.Name, answer)
		}
	}
}
