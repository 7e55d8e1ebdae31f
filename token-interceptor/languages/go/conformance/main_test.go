package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	catalogv1 "m2m.example/go/conformance/catalog/v1"
	conformancev1 "m2m.example/go/m2m/conformance/v1"
)

const (
	catalog = "/conformance.catalog.v1.Catalog/"
	// galleryTime is a minute after the `iat` of the gallery's tokens.
	galleryTime = 1_767_225_660
)

// descriptors returns a file and what it imports.
func descriptors(t *testing.T) []byte {
	t.Helper()
	set, seen := &descriptorpb.FileDescriptorSet{}, map[string]bool{}
	var add func(file protoreflect.FileDescriptor)
	add = func(file protoreflect.FileDescriptor) {
		if seen[file.Path()] {
			return
		}
		seen[file.Path()] = true
		for i := range file.Imports().Len() {
			add(file.Imports().Get(i).FileDescriptor)
		}
		set.File = append(set.File, protodesc.ToFileDescriptorProto(file))
	}
	add(catalogv1.File_conformance_catalog_v1_catalog_proto)
	encoded, err := proto.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	return encoded
}

// exchange sends requests to an executor and returns its responses, as the runner does.
func exchange(t *testing.T, requests ...*conformancev1.ConformanceRequest) []*conformancev1.ConformanceResponse {
	t.Helper()
	var input, output bytes.Buffer
	encode(t, &input, requests...)
	if err := serve(t, &input, &output); err != nil {
		t.Fatal(err)
	}
	return decode(t, &output, len(requests))
}

func encode(t *testing.T, input *bytes.Buffer, requests ...*conformancev1.ConformanceRequest) {
	t.Helper()
	for _, request := range requests {
		encoded, err := proto.Marshal(request)
		if err != nil {
			t.Fatal(err)
		}
		input.Write([]byte{byte(len(encoded)), byte(len(encoded) >> 8), byte(len(encoded) >> 16), 0})
		input.Write(encoded)
	}
}

func decode(t *testing.T, output *bytes.Buffer, requests int) []*conformancev1.ConformanceResponse {
	t.Helper()
	var responses []*conformancev1.ConformanceResponse
	for output.Len() > 0 {
		response := &conformancev1.ConformanceResponse{}
		if err := read(output, response); err != nil {
			t.Fatal(err)
		}
		responses = append(responses, response)
	}
	if len(responses) != requests {
		t.Fatalf("%d responses to %d requests", len(responses), requests)
	}
	return responses
}

type gallery struct {
	Issuer, Audience string
	JWKS             json.RawMessage
	Good, Forgeries  []struct{ Name, Token, Reason string }
}

func readGallery(t *testing.T) gallery {
	t.Helper()
	text, err := os.ReadFile("../../../testdata/forgeries.json")
	if err != nil {
		t.Fatal(err)
	}
	var found gallery
	if err := json.Unmarshal(text, &found); err != nil {
		t.Fatal(err)
	}
	return found
}

func serverRequest(t *testing.T, gallery gallery, token string, change func(*conformancev1.ServerCase)) *conformancev1.ConformanceRequest {
	one := &conformancev1.ServerCase{
		Descriptors:   descriptors(t),
		Services:      []string{"conformance.catalog.v1.Inventory", "conformance.catalog.v1.Catalog"},
		Issuers:       []*conformancev1.TrustedIssuer{{Issuer: gallery.Issuer, Jwks: gallery.JWKS}},
		Now:           timestamppb.New(time.Unix(galleryTime, 0)),
		Method:        "/conformance.catalog.v1.Inventory/Get",
		Authorization: []string{"Bearer " + token},
	}
	if change != nil {
		change(one)
	}
	return &conformancev1.ConformanceRequest{Case: &conformancev1.ConformanceRequest_Server{Server: one}}
}

func TestTheGalleryGetsTheReasonsThatItNames(t *testing.T) {
	gallery := readGallery(t)
	var requests []*conformancev1.ConformanceRequest
	for _, token := range append(gallery.Good, gallery.Forgeries...) {
		requests = append(requests, serverRequest(t, gallery, token.Token, nil))
	}
	for i, response := range exchange(t, requests...) {
		token := append(gallery.Good, gallery.Forgeries...)[i]
		refused := response.GetServer().GetRefused()
		allowed := response.GetServer().GetAllowed()
		switch {
		case response.GetServer() == nil:
			t.Errorf("%s: %s", token.Name, response.GetError())
		case token.Reason == "" && (allowed.GetTokenId() == "" || allowed.GetIssuer() != gallery.Issuer):
			t.Errorf("%s: %v", token.Name, refused)
		case token.Reason != "" && (refused.GetReason() != token.Reason || refused.GetDomain() != "m2m.token.v1"):
			t.Errorf("%s: %v, expected %s", token.Name, response, token.Reason)
		case token.Reason == "TOKEN_INVALID" && strings.Join(response.GetServer().GetMarks(), "|") !=
			"before-handler /conformance.catalog.v1.Inventory/Get":
			t.Errorf("%s: marks %q", token.Name, response.GetServer().GetMarks())
		}
	}
}

func TestTheProgramAnswersOnItsStandardOutput(t *testing.T) {
	gallery := readGallery(t)
	var input, output bytes.Buffer
	client := &conformancev1.ClientCase{
		Descriptors: descriptors(t), Until: seconds(1), Calls: []*conformancev1.Call{{Method: catalog + "Get"}},
		Answers: []*conformancev1.IssuerAnswer{token(1, 100)},
	}
	encode(t, &input, serverRequest(t, gallery, gallery.Good[0].Token, nil), &conformancev1.ConformanceRequest{},
		&conformancev1.ConformanceRequest{Case: &conformancev1.ConformanceRequest_Client{Client: client}})
	executor := exec.CommandContext(t.Context(), "./run")
	executor.Stdin, executor.Stdout, executor.Stderr = &input, &output, os.Stderr
	if err := executor.Run(); err != nil {
		t.Fatal(err)
	}
	responses := decode(t, &output, 3)
	if responses[0].GetServer().GetAllowed() == nil || responses[1].GetError() == "" ||
		responses[2].GetClient().GetCalls()[0].GetAttempts()[0] != "t1" {
		t.Fatal(responses)
	}
}

func TestServerCases(t *testing.T) {
	gallery := readGallery(t)
	good := gallery.Good[0].Token
	set := func(change func(*conformancev1.ServerCase)) *conformancev1.ServerResult {
		t.Helper()
		response := exchange(t, serverRequest(t, gallery, good, change))[0]
		if response.GetServer() == nil {
			t.Fatal(response)
		}
		return response.GetServer()
	}
	if result := set(func(one *conformancev1.ServerCase) { one.HandlerMarks = []string{"x", "y"} }); result.GetAllowed() == nil ||
		len(result.GetMarks()) > 0 {
		t.Error(result)
	}
	if result := set(func(one *conformancev1.ServerCase) { one.Services = []string{"conformance.catalog.v1.Forgotten"} }); !strings.Contains(
		result.GetStartError(), "/conformance.catalog.v1.Forgotten/Get") {
		t.Error(result)
	}
	unreachable := set(func(one *conformancev1.ServerCase) { one.Issuers[0].Jwks, one.Issuers[0].Unreachable = nil, true })
	if refused := unreachable.GetRefused(); refused.GetReason() != "TRUST_UNAVAILABLE" || !refused.GetHasRetryInfo() || refused.GetCode() != 14 {
		t.Error(unreachable)
	}
	if result := set(func(one *conformancev1.ServerCase) { one.Issuers[0].Jwks = []byte(`{"keys":[]}`) }); result.GetRefused().GetReason() != "TOKEN_KEY_UNKNOWN" {
		t.Error(result)
	}
	if result := set(func(one *conformancev1.ServerCase) { one.RevokedTokenIds = []string{"token-130"} }); result.GetRefused().GetReason() != "TOKEN_REVOKED" {
		t.Error(result)
	}
	if result := set(func(one *conformancev1.ServerCase) { one.Method = catalog + "Watch" }); result.GetRefused().GetReason() != "TOKEN_AUDIENCE_MISMATCH" {
		t.Error(result)
	}
	if result := set(func(one *conformancev1.ServerCase) { one.Method = catalog + "Ping" }); result.GetAllowed() == nil || result.GetAllowed().GetIssuer() != "" {
		t.Error(result)
	}
	if result := set(func(one *conformancev1.ServerCase) { one.Method = "/a.B/C" }); result.GetRefused().GetReason() != "METHOD_NOT_DECLARED" {
		t.Error(result)
	}
	observed := set(func(one *conformancev1.ServerCase) { one.Authorization, one.Observe = nil, true })
	if observed.GetAllowed() == nil || observed.GetWouldDeny().GetReason() != "CREDENTIALS_MISSING" || observed.GetWouldDeny().GetWwwAuthenticate() != "Bearer" {
		t.Error(observed)
	}
}

func seconds(seconds float64) *durationpb.Duration {
	return durationpb.New(time.Duration(seconds * float64(time.Second)))
}

func token(number, expiresIn int) *conformancev1.IssuerAnswer {
	body := fmt.Sprintf(`{"access_token":"t%d","token_type":"bearer","expires_in":%d}`, number, expiresIn)
	return &conformancev1.IssuerAnswer{Status: 200, Body: []byte(body), Delay: seconds(0.1)}
}

func TestClientCases(t *testing.T) {
	start := timestamppb.New(time.Unix(galleryTime, 0))
	get := func(at float64) *conformancev1.Call {
		return &conformancev1.Call{At: seconds(at), Method: catalog + "Get"}
	}
	refusal := &conformancev1.ServerAnswer{Code: 16, Reason: "TOKEN_REVOKED", Marks: []string{"before-handler " + catalog + "Get"}}
	for name, one := range map[string]struct {
		client   *conformancev1.ClientCase
		expected string
	}{
		"a token is shared and renewed in the background": {
			&conformancev1.ClientCase{
				Answers: []*conformancev1.IssuerAnswer{token(1, 100), token(2, 100)},
				Calls:   []*conformancev1.Call{get(0), get(1), get(80)}, Until: seconds(90),
			},
			`requests:{at:{} audience:"catalog" scopes:"catalog.read"}
			requests:{at:{seconds:65} audience:"catalog" scopes:"catalog.read"}
			calls:{attempts:"t1" at:{nanos:100000000}} calls:{attempts:"t1" at:{seconds:1}} calls:{attempts:"t2" at:{seconds:80}}`,
		},
		"a call is sent again after a marked refusal": {
			&conformancev1.ClientCase{
				Answers: []*conformancev1.IssuerAnswer{token(1, 100), token(2, 100)},
				Calls:   []*conformancev1.Call{{At: seconds(1), Method: catalog + "Get", Answers: []*conformancev1.ServerAnswer{refusal}}},
				Until:   seconds(2),
			},
			`requests:{at:{seconds:1} audience:"catalog" scopes:"catalog.read"}
			requests:{at:{seconds:1 nanos:100000000} audience:"catalog" scopes:"catalog.read"}
			calls:{attempts:"t1" attempts:"t2" at:{seconds:1 nanos:200000000}}`,
		},
		"a call without a mark is not sent again": {
			&conformancev1.ClientCase{
				Answers: []*conformancev1.IssuerAnswer{token(1, 100)},
				Calls: []*conformancev1.Call{{Method: catalog + "Get", At: seconds(0),
					Answers: []*conformancev1.ServerAnswer{{Code: 16, Reason: "TOKEN_REVOKED"}}}},
				Until: seconds(2),
			},
			`requests:{at:{} audience:"catalog" scopes:"catalog.read"}
			calls:{attempts:"t1" at:{nanos:100000000} code:16 reason:"TOKEN_REVOKED"}`,
		},
		"a public method carries no token": {
			&conformancev1.ClientCase{
				Calls: []*conformancev1.Call{{Method: catalog + "Ping", At: seconds(1)}, {Method: "/a.B/C", At: seconds(1)}}, Until: seconds(2),
			},
			`calls:{attempts:"" at:{seconds:1}} calls:{attempts:"" at:{seconds:1}}`,
		},
		"a refusal is shared for a while": {
			&conformancev1.ClientCase{
				Answers: []*conformancev1.IssuerAnswer{{Status: 401, Body: []byte(`{"error":"invalid_client"}`)}},
				Calls:   []*conformancev1.Call{get(0), get(0.5)}, Until: seconds(0.6),
			},
			`requests:{at:{} audience:"catalog" scopes:"catalog.read"}
			calls:{at:{} code:16 reason:"CLIENT_AUTHENTICATION_FAILED"} calls:{at:{nanos:500000000} code:16 reason:"CLIENT_AUTHENTICATION_FAILED"}`,
		},
		"an issuer that stalls fails a call after ten seconds": {
			&conformancev1.ClientCase{Calls: []*conformancev1.Call{get(0), {Method: catalog + "Get", At: seconds(1), Deadline: seconds(2)}, get(9)}, Until: seconds(12)},
			`requests:{at:{} audience:"catalog" scopes:"catalog.read"}
			calls:{at:{seconds:10} code:14 reason:"ISSUER_UNAVAILABLE"} calls:{at:{seconds:3} code:4} calls:{code:-1}`,
		},
		"an outage is retried with pauses": {
			&conformancev1.ClientCase{
				Answers: []*conformancev1.IssuerAnswer{{ConnectionFailed: true}, {Status: 503, RetryAfter: "2"}, token(3, 100)},
				Calls:   []*conformancev1.Call{get(0), get(1), get(4)}, Until: seconds(5), Draw: 0.5,
			},
			`requests:{at:{} audience:"catalog" scopes:"catalog.read"}
			requests:{at:{nanos:50000000} audience:"catalog" scopes:"catalog.read"}
			requests:{at:{seconds:2 nanos:150000000} audience:"catalog" scopes:"catalog.read"}
			calls:{at:{} code:14 reason:"ISSUER_UNAVAILABLE"} calls:{at:{seconds:1} code:14 reason:"ISSUER_UNAVAILABLE"}
			calls:{attempts:"t3" at:{seconds:4}}`,
		},
		"a token ends when the wall clock says so": {
			&conformancev1.ClientCase{
				Answers: []*conformancev1.IssuerAnswer{token(1, 100), token(2, 100)},
				Calls:   []*conformancev1.Call{get(0), get(10)}, Until: seconds(12),
				Jumps: []*conformancev1.ClockJump{{At: seconds(9), By: seconds(95)}},
			},
			`requests:{at:{} audience:"catalog" scopes:"catalog.read"}
			requests:{at:{seconds:10} audience:"catalog" scopes:"catalog.read"}
			calls:{attempts:"t1" at:{nanos:100000000}} calls:{attempts:"t2" at:{seconds:10 nanos:100000000}}`,
		},
		"methods share a token": {
			&conformancev1.ClientCase{
				Answers: []*conformancev1.IssuerAnswer{token(1, 100)}, Sharing: []string{catalog + "Get", catalog + "Put"},
				Calls: []*conformancev1.Call{get(0), {Method: catalog + "Put", At: seconds(1)}}, Until: seconds(2),
			},
			`requests:{at:{} audience:"catalog" scopes:["catalog.admin","catalog.read","catalog.write"]}
			calls:{attempts:"t1" at:{nanos:100000000}} calls:{attempts:"t1" at:{seconds:1}}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			one.client.Descriptors, one.client.Start = descriptors(t), start
			request := &conformancev1.ConformanceRequest{Case: &conformancev1.ConformanceRequest_Client{Client: one.client}}
			response := exchange(t, request)[0]
			expected := &conformancev1.ClientResult{}
			if err := prototext.Unmarshal([]byte(one.expected), expected); err != nil {
				t.Fatal(err)
			}
			if !proto.Equal(response.GetClient(), expected) {
				t.Errorf("%s\nexpected %s\n%s", prototext.Format(response.GetClient()), prototext.Format(expected), response.GetError())
			}
		})
	}
}
