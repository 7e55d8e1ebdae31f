package source

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var now = time.Unix(1_767_225_600, 0)

func answer(status int, body string, header ...string) Answer {
	fields := http.Header{}
	for i := 0; i < len(header); i += 2 {
		fields.Set(header[i], header[i+1])
	}
	return Answer{status, fields, []byte(body)}
}

func TestATokenResponseIsReadLeniently(t *testing.T) {
	for members, lifetime := range map[string]time.Duration{
		`"expires_in":300`: 300 * time.Second, `"expires_in":300.9`: 300 * time.Second, `"expires_in":"300"`: 300 * time.Second,
		`"expires_in":3e2`: 300 * time.Second, `"expires_in":" 300.0 "`: 300 * time.Second, `"expires_in":1e999`: 1<<63 - 1,
		`"expires_in":900,"expires_in":300`: 300 * time.Second, `"expires_in":0`: 0,
		`"x":1`: LifetimeDefault, `"expires_in":-5`: LifetimeDefault, `"expires_in":null`: LifetimeDefault,
		`"expires_in":"soon"`: LifetimeDefault, `"expires_in":"NaN"`: LifetimeDefault, `"expires_in":"0x10"`: LifetimeDefault,
		`"expires_in":[300]`: LifetimeDefault, `"x":1,"x":2,"y":"\ud83d"`: LifetimeDefault,
	} {
		issued, err := answer(200, `{"access_token":"a.b-c","token_type":"bEARER",`+members+`}`).Read(now)
		if err != nil || issued.ExpiresIn != lifetime || issued.Token != "a.b-c" {
			t.Error(members, issued.ExpiresIn, err)
		}
	}
	issued, err := answer(200, `{"access_token":"a","token_type":"Bearer","expires_in":300,"refresh_in":"240.5"}`).Read(now)
	if err != nil || issued.RefreshAfter != 240*time.Second {
		t.Error(issued, err)
	}
}

func TestWhatIsNoTokenIsAnOutage(t *testing.T) {
	for _, body := range []string{
		"", "{}", "[]", `{"access_token":"a"}`, `{"token_type":"Bearer"}`, `{"access_token":"a","token_type":"DPoP"}`,
		`{"access_token":"a b","token_type":"Bearer"}`, `{"access_token":"","token_type":"Bearer"}`,
		`{"access_token":"a","access_token":"b","token_type":"Bearer"}`, `{"access_token":1,"token_type":"Bearer"}`,
		`{"access_token":"a\u000ab","token_type":"Bearer"}`, `{"access_token":"a","token_type":"Bearer"} x`,
	} {
		_, err := answer(200, body).Read(now)
		if failure := ErrorOf(err); err == nil || failure.Refusal != NotRefused || failure.Cause != CauseAnswer {
			t.Error(body, err)
		}
	}
}

func TestARefusalIsToldFromAnOutage(t *testing.T) {
	for _, one := range []struct {
		status  int
		body    string
		refusal Refusal
	}{
		{401, `{"error":"invalid_client"}`, RefusedClientAuthentication}, {400, `{"error":"invalid_scope"}`, RefusedScope},
		{400, `{"error":"invalid_target"}`, RefusedTarget}, {400, `{"error":"invalid_grant"}`, RefusedGrant},
		{403, `{"error":"access_denied"}`, RefusedClient}, {400, `{"error":"unsupported_grant_type"}`, RefusedRequest},
		{400, `{"error":"custom"}`, RefusedRequest}, {404, `{"error":"invalid_client"}`, RefusedClientAuthentication},
		{404, `{"error":"not_found"}`, NotRefused}, {404, "<html>", NotRefused}, {400, `{"error":"slow_down"}`, NotRefused},
		{429, `{"error":"invalid_client"}`, NotRefused}, {408, `{"error":"invalid_client"}`, NotRefused},
		{500, `{"error":"invalid_client"}`, NotRefused}, {503, "", NotRefused}, {302, "", NotRefused}, {204, "", NotRefused},
	} {
		_, err := answer(one.status, one.body).Read(now)
		if err == nil || ErrorOf(err).Refusal != one.refusal {
			t.Error(one, err)
		}
	}
	_, err := answer(400, `{"error":"invalid_scope","error_description":"a\nforged \"line\""}`).Read(now)
	if text := err.Error(); strings.ContainsAny(text, "\n\"") {
		t.Error(text)
	}
}

func TestRetryAfterIsSecondsOrADate(t *testing.T) {
	at := now.Add(90 * time.Second).UTC().Format(http.TimeFormat)
	for _, one := range []struct {
		header   []string
		expected time.Duration
	}{
		{[]string{"Retry-After", "7"}, 7 * time.Second}, {[]string{"Retry-After", " 7 "}, 7 * time.Second},
		{[]string{"Retry-After", at}, 90 * time.Second},
		{[]string{"Retry-After", at, "Date", now.Add(80 * time.Second).UTC().Format(http.TimeFormat)}, 10 * time.Second},
		{[]string{"Retry-After", "-7"}, 0}, {[]string{"Retry-After", "soon"}, 0}, {nil, 0},
	} {
		_, err := answer(503, "", one.header...).Read(now)
		if wait := ErrorOf(err).RetryAfter; wait != one.expected {
			t.Error(one, wait)
		}
	}
}

// issuer is an issuer over HTTP. It records the forms that it gets.
func issuer(t *testing.T, change func(metadata map[string]string)) (*httptest.Server, *[]url.Values, *[]string) {
	t.Helper()
	var forms []url.Values
	var ids []string
	mux := http.NewServeMux()
	server := httptest.NewTLSServer(mux)
	t.Cleanup(server.Close)
	mux.HandleFunc("GET /.well-known/oauth-authorization-server/tenant", func(answer http.ResponseWriter, _ *http.Request) {
		metadata := map[string]string{"issuer": server.URL + "/tenant", "token_endpoint": server.URL + "/token", "methods": `["client_secret_basic"]`}
		if change != nil {
			change(metadata)
		}
		_, _ = fmt.Fprintf(answer, `{"issuer":%q,"token_endpoint":%q,"token_endpoint_auth_methods_supported":%s}`,
			metadata["issuer"], metadata["token_endpoint"], metadata["methods"])
	})
	mux.HandleFunc("POST /token", func(answer http.ResponseWriter, request *http.Request) {
		_ = request.ParseForm()
		id, secret, _ := request.BasicAuth()
		forms, ids = append(forms, request.PostForm), append(ids, id+" "+secret)
		_, _ = fmt.Fprint(answer, `{"access_token":"a","token_type":"Bearer","expires_in":300}`)
	})
	return server, &forms, &ids
}

func TestTheGrantsOverHTTP(t *testing.T) {
	server, forms, ids := issuer(t, nil)
	from := func(issuer HTTP) Source {
		issuer.Issuer, issuer.HTTPClient = server.URL+"/tenant", server.Client()
		source, err := NewHTTP(issuer)
		if err != nil {
			t.Fatal(err)
		}
		return source
	}
	request := Request{Audience: "inventory", Scopes: []string{"a", "b"}}
	fetch := func(source Source, request Request) {
		t.Helper()
		if issued, err := source.Fetch(t.Context(), request); err != nil || issued.Token != "a" {
			t.Fatal(issued, err)
		}
	}
	fetch(from(HTTP{Client: Client{ID: "or:ders", Secret: "s ecret"}}), request)
	fetch(from(HTTP{Client: Client{ID: "orders", Secret: "secret"}, SecretInForm: true, AudienceParameter: "resource"}), request)
	assertion := func(context.Context) (string, error) { return "x.y.z", nil }
	request.Subject = "the caller's"
	fetch(from(HTTP{Client: Client{ID: "orders", Assertion: assertion}, AudienceParameter: "-"}), request)
	expected := []string{
		"audience=inventory&grant_type=client_credentials&scope=a+b",
		"client_id=orders&client_secret=secret&grant_type=client_credentials&resource=inventory&scope=a+b",
		"client_assertion=x.y.z&client_assertion_type=" + url.QueryEscape(assertionType) + "&client_id=orders&grant_type=" +
			url.QueryEscape(grantExchange) + "&scope=a+b&subject_token=the+caller%27s&subject_token_type=" + url.QueryEscape(tokenTypeAccess),
	}
	for i, form := range *forms {
		if form.Encode() != expected[i] {
			t.Errorf("%s\n%s", form.Encode(), expected[i])
		}
	}
	if (*ids)[0] != "or%3Aders s+ecret" || (*ids)[1] != " " {
		t.Error(*ids)
	}
}

func TestAnothersMetadataAreNotFollowed(t *testing.T) {
	for name, change := range map[string]func(map[string]string){
		"another issuer":     func(m map[string]string) { m["issuer"] = "https://issuer.example" },
		"plaintext endpoint": func(m map[string]string) { m["token_endpoint"] = "http://localhost/token" },
		"no endpoint":        func(m map[string]string) { m["token_endpoint"] = "" },
	} {
		server, forms, _ := issuer(t, change)
		source, err := NewHTTP(HTTP{Issuer: server.URL + "/tenant", HTTPClient: server.Client(), Client: Client{ID: "orders", Secret: "secret"}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := source.Fetch(t.Context(), Request{}); err == nil || len(*forms) > 0 {
			t.Error(name, err)
		}
	}
}

func TestAnIssuerThatCannotBeReachedIsTold(t *testing.T) {
	server, _, _ := issuer(t, nil)
	client := Client{ID: "orders", Secret: "secret"}
	untrusted, err := NewHTTP(HTTP{Issuer: server.URL + "/tenant", Client: client})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := untrusted.Fetch(t.Context(), Request{}); ErrorOf(err).Cause != CauseUntrustedCA {
		t.Error(err)
	}
	silent, err := NewHTTP(HTTP{TokenEndpoint: "http://127.0.0.1:1/token", Client: client})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := silent.Fetch(t.Context(), Request{}); ErrorOf(err).Cause != CauseConnectionRefused {
		t.Error(err)
	}
	for name, issuer := range map[string]HTTP{
		"plaintext": {Issuer: "http://issuer.example", Client: client}, "no URL": {Issuer: "issuer.example", Client: client},
		"a query": {Issuer: "https://issuer.example?a=b", Client: client}, "no proof": {Issuer: "https://issuer.example"},
	} {
		if _, err := NewHTTP(issuer); err == nil {
			t.Error(name)
		}
	}
}

func jwt(claims string) string {
	return "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2ln"
}

func TestATokenFileEndsBeforeItsToken(t *testing.T) {
	epoch := time.Unix(0, 0)
	issued, err := ofFile(jwt(`{"exp":3600}`), epoch)
	if err != nil || issued.ExpiresIn != 3570*time.Second || issued.RefreshAfter != 3510*time.Second {
		t.Error(issued, err)
	}
	if issued, err = ofFile(jwt(`{"exp":80}`), epoch); err != nil || issued.ExpiresIn != 50*time.Second || issued.RefreshAfter != 0 {
		t.Error(issued, err)
	}
	for _, exp := range []int{0, 29, 31} {
		if _, err := ofFile(jwt(fmt.Sprintf(`{"exp":%d}`, exp)), epoch); err == nil || ErrorOf(err).Refusal != NotRefused {
			t.Error(exp, err)
		}
	}
	for _, text := range []string{"", "abc", "a.b", "a.b.c", "a.b.c.d", jwt("{}"), jwt(`{"exp":"soon"}`), jwt(`{"exp":-1}`)} {
		if _, err := ofFile(text, epoch); err == nil || ErrorOf(err).Refusal != RefusedToken {
			t.Error(text, err)
		}
	}
}

func TestATokenFileIsReadAsItIsNow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	if _, err := File(path).Fetch(t.Context(), Request{}); ErrorOf(err).Refusal != NotRefused || !errors.Is(err, os.ErrNotExist) {
		t.Fatal("it is not there yet", err)
	}
	for _, exp := range []string{"4000000000", "4000000001"} {
		token := jwt(`{"exp":` + exp + `}`)
		if err := os.WriteFile(path, []byte(token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if issued, err := File(path).Fetch(t.Context(), Request{}); err != nil || string(issued.Token) != token {
			t.Fatal(issued, err)
		}
	}
	if _, err := File(path).Fetch(t.Context(), Request{Subject: "x"}); ErrorOf(err).Refusal != RefusedRequest {
		t.Fatal("a caller would get the program's rights", err)
	}
}

func TestEqualRequestsShareAKey(t *testing.T) {
	one := Request{Audience: "a", Scopes: []string{"y", "x", "x"}}.Normal()
	if other := (Request{Audience: "a", Scopes: []string{"x", "y"}}); one.Key() != other.Key() {
		t.Error(one, other)
	}
	if strings.Contains(Request{Subject: "the secret"}.String(), "secret") {
		t.Error("printed")
	}
}
