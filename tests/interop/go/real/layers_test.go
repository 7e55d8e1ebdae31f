package real

import (
	"context"
	"net/url"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"m2m.example/go/source"
	"m2m.example/go/tokens"
	"m2m.example/go/verify"

	inventoryv1 "token.example/interop/gen"
)

// The package's own sources and key sources, against the issuer.

func getItem(t *testing.T, options ...grpc.DialOption) (*inventoryv1.GetItemResponse, error) {
	t.Helper()
	return inventory(t, options...).GetItem(t.Context(), &inventoryv1.GetItemRequest{Sku: "sp-1"})
}

func TestTokensComeFromEverySource(t *testing.T) {
	file := filepath.Join(t.TempDir(), "inventory.jwt")
	agent := exec.CommandContext(t.Context(), env(t, "TOKEN_SERVER"), "agent", "--once", "--token", "inventory="+file)
	if output, err := agent.CombinedOutput(); err != nil {
		t.Fatal(err, string(output))
	}
	secret := source.Client{ID: env(t, "TOKEN_CLIENT_ID"), Secret: source.Secret(env(t, "TOKEN_CLIENT_SECRET"))}
	key := register(t, "keyed-by-the-go-layer")
	keyed := source.Client{ID: key.id, Assertion: func(context.Context) (string, error) { return key.assertion(t), nil }}
	http := func(client source.Client) source.Source {
		found, err := source.NewHTTP(source.HTTP{Issuer: env(t, "TOKEN_ISSUER"), Client: client, TLS: trust(t)})
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	grpc := func(client source.Client) source.Source {
		found, err := tokens.NewSource(tokens.Issuer{URL: env(t, "TOKEN_ISSUER"), TLS: trust(t)}, client)
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	for name, one := range map[string]struct {
		source source.Source
		client string
	}{
		"gRPC": {grpc(secret), secret.ID}, "gRPC with a key": {grpc(keyed), keyed.ID},
		"discovery": {http(secret), secret.ID}, "discovery with a key": {http(keyed), keyed.ID},
		"file": {source.File(file), secret.ID},
	} {
		answer, err := getItem(t, clientOf(t, one.source).DialOptions()...)
		if err != nil || answer.GetAskedBy() != one.client {
			t.Error(name, answer, err)
		}
	}
}

func TestAScopeThatIsNotGrantedIsTheClientsOwnFault(t *testing.T) {
	_, err := inventory(t, withTokens(t)...).DeleteItem(t.Context(), &inventoryv1.DeleteItemRequest{Sku: "any"})
	info, _ := details(err)
	if status.Code(err) != codes.PermissionDenied || info.GetReason() != "SCOPE_INSUFFICIENT" || info.GetMetadata()["scope"] != "inventory.write" {
		t.Fatal(err, info)
	}
}

func TestAnIssuerThatIsNotTrustedReadsAsSuch(t *testing.T) {
	source, err := tokens.ClientCredentials(tokens.Issuer{URL: env(t, "TOKEN_ISSUER")}, "orders", "x")
	if err != nil {
		t.Fatal(err)
	}
	_, err = getItem(t, clientOf(t, source).DialOptions()...)
	info, retry := details(err)
	if status.Code(err) != codes.Unavailable || info.GetReason() != "ISSUER_UNAVAILABLE" ||
		info.GetMetadata()["cause"] != "untrusted_ca" || retry == nil {
		t.Fatal(err, info)
	}
}

// A server whose keys and revocations are pushed ends a stream within a second of the revocation of its
// token.
func TestAPushedRevocationEndsAStreamAndTheNextCallHasANewToken(t *testing.T) {
	watch, err := tokens.Watch(tokens.Issuer{URL: env(t, "TOKEN_ISSUER"), TLS: trust(t)})
	if err != nil {
		t.Fatal(err)
	}
	address := serve(t, verify.TrustedIssuer{Push: watch})
	layer := client(t, env(t, "TOKEN_CLIENT_SECRET"))
	service := inventoryv1.NewInventoryServiceClient(dial(t, address, layer.DialOptions()...))
	waiting := metadata.AppendToOutgoingContext(t.Context(), "x-wait", "yes")
	stream, err := service.ListItems(waiting, &inventoryv1.ListItemsRequest{})
	if err == nil {
		_, err = stream.Recv()
	}
	if err != nil {
		t.Fatal(err)
	}
	header, err := layer.Token(t.Context(), source.Request{Audience: audience, Scopes: []string{"inventory.read"}})
	if err != nil {
		t.Fatal(err)
	}
	if status, body := post(t, "/oauth/revoke", url.Values{"token": {header[len("Bearer "):]}}); status != 200 {
		t.Fatal(status, body)
	}
	began := time.Now()
	_, err = stream.Recv()
	info, _ := details(err)
	if took := time.Since(began); info.GetReason() != "TOKEN_REVOKED" || took > 4*time.Second {
		t.Fatal(err, took)
	}
	if marks := stream.Trailer().Get("token-refused"); len(marks) > 0 {
		t.Fatal("the program gets a mark", marks)
	}
	if _, err := service.GetItem(t.Context(), &inventoryv1.GetItemRequest{}); err != nil {
		t.Fatal("the next call has a new token:", err)
	}
}

// A revoked token is replaced within the call: the server refuses it before the handler, and says so.
func TestACallIsSentAgainAfterARevocation(t *testing.T) {
	watch, err := tokens.Watch(tokens.Issuer{URL: env(t, "TOKEN_ISSUER"), TLS: trust(t)})
	if err != nil {
		t.Fatal(err)
	}
	layer := client(t, env(t, "TOKEN_CLIENT_SECRET"))
	service := inventoryv1.NewInventoryServiceClient(dial(t, serve(t, verify.TrustedIssuer{Push: watch}), layer.DialOptions()...))
	if _, err := service.GetItem(t.Context(), &inventoryv1.GetItemRequest{}); err != nil {
		t.Fatal(err)
	}
	request := source.Request{Audience: audience, Scopes: []string{"inventory.read"}}
	before, err := layer.Token(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	if status, body := post(t, "/oauth/revoke", url.Values{"token": {before[len("Bearer "):]}}); status != 200 {
		t.Fatal(status, body)
	}
	for range 40 {
		if _, err := service.GetItem(t.Context(), &inventoryv1.GetItemRequest{}); err != nil {
			t.Fatal(err)
		}
		if after, err := layer.Token(t.Context(), request); err == nil && after != before {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("the revoked token is still in use")
}

// A Go server calls the Rust server on behalf of its own caller.
func TestAServerCallsOnBehalfOfItsCaller(t *testing.T) {
	key := register(t, "gateway-in-go")
	exchanging, err := tokens.NewSource(tokens.Issuer{URL: env(t, "TOKEN_ISSUER"), TLS: trust(t)},
		source.Client{ID: key.id, Assertion: func(context.Context) (string, error) { return key.assertion(t), nil }})
	if err != nil {
		t.Fatal(err)
	}
	next := inventory(t, clientOf(t, exchanging, tokens.OnBehalfOfCaller()).DialOptions()...)
	if _, err := next.GetItem(t.Context(), &inventoryv1.GetItemRequest{}); status.Code(err) != codes.FailedPrecondition {
		t.Fatal("a call without a caller would have the program's own rights", err)
	}
	guard, err := verify.NewGuard(verifier(t, verify.TrustedIssuer{}), table(t), verify.GuardConfig{})
	if err != nil {
		t.Fatal(err)
	}
	decision := guard.Decide(t.Context(), inventoryv1.InventoryService_GetItem_FullMethodName, []string{"Bearer " + issued(t)})
	if decision.Refusal != nil {
		t.Fatal(decision.Refusal)
	}
	ctx := verify.WithCaller(t.Context(), decision.Caller)
	answer, err := next.GetItem(ctx, &inventoryv1.GetItemRequest{Sku: "sp-1"})
	if err != nil || answer.GetAskedBy() != key.id {
		t.Fatal(answer, err)
	}
	// A handler that passes its caller's token on by mistake: it is replaced.
	passed := metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+decision.Caller.Bearer())
	if answer, err := next.GetItem(passed, &inventoryv1.GetItemRequest{Sku: "sp-1"}); err != nil || answer.GetAskedBy() != key.id {
		t.Fatal(answer, err)
	}
}
