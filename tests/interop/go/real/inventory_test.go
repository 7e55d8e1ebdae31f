package real

import (
	"io"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	inventoryv1 "token.example/interop/gen"
)

func inventory(t *testing.T, options ...grpc.DialOption) inventoryv1.InventoryServiceClient {
	t.Helper()
	return inventoryv1.NewInventoryServiceClient(dial(t, env(t, "INVENTORY"), options...))
}

func withTokens(t *testing.T) []grpc.DialOption {
	t.Helper()
	return client(t, env(t, "TOKEN_CLIENT_SECRET")).DialOptions()
}

func TestACallWithATokenIsAllowed(t *testing.T) {
	service := inventory(t, withTokens(t)...)
	stream, err := service.ListItems(t.Context(), &inventoryv1.ListItemsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	first, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = stream.Recv()
	}
	if err != io.EOF {
		t.Fatal(err)
	}
	answer, err := service.GetItem(t.Context(), &inventoryv1.GetItemRequest{Sku: first.GetItem().GetSku()})
	if err != nil || answer.GetAskedBy() != env(t, "TOKEN_CLIENT_ID") {
		t.Fatal(answer, err)
	}
}

func TestADeniedCallNamesTheMissingScope(t *testing.T) {
	var trailer metadata.MD
	// Its own token would have the scope, or the issuer would refuse it. So it carries that of another method.
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+issued(t))
	_, err := inventory(t, withTokens(t)...).
		DeleteItem(ctx, &inventoryv1.DeleteItemRequest{Sku: "any"}, grpc.Trailer(&trailer))
	info, _ := details(err)
	if status.Code(err) != codes.PermissionDenied || info.GetDomain() != "m2m.token.v1" ||
		info.GetReason() != "SCOPE_INSUFFICIENT" || info.GetMetadata()["scope"] != "inventory.write" {
		t.Fatal(err, info)
	}
	challenge := strings.Join(trailer.Get("www-authenticate"), "")
	if !strings.HasPrefix(challenge, "Bearer ") || !strings.Contains(challenge, `error="insufficient_scope"`) ||
		!strings.Contains(challenge, `scope="inventory.write"`) {
		t.Fatal(challenge)
	}
}

func TestACallWithoutATokenIsChallenged(t *testing.T) {
	var trailer metadata.MD
	_, err := inventory(t).GetItem(t.Context(), &inventoryv1.GetItemRequest{}, grpc.Trailer(&trailer))
	info, _ := details(err)
	challenge := strings.Join(trailer.Get("www-authenticate"), "")
	if status.Code(err) != codes.Unauthenticated || info.GetReason() != "CREDENTIALS_MISSING" ||
		!strings.HasPrefix(challenge, "Bearer") || strings.Contains(challenge, "error=") {
		t.Fatal(err, info, challenge)
	}
}

func TestAPublicMethodNeedsNoToken(t *testing.T) {
	if _, err := inventory(t).GetOpeningHours(t.Context(), &inventoryv1.GetOpeningHoursRequest{}); err != nil {
		t.Fatal(err)
	}
}

func TestAServerThatCannotReachItsIssuerSaysWhenToTryAgain(t *testing.T) {
	conn := dial(t, env(t, "INVENTORY_WITHOUT_ISSUER"), withTokens(t)...)
	_, err := inventoryv1.NewInventoryServiceClient(conn).GetItem(t.Context(), &inventoryv1.GetItemRequest{})
	info, retry := details(err)
	if status.Code(err) != codes.Unavailable || info.GetReason() != "TRUST_UNAVAILABLE" ||
		retry.GetRetryDelay().AsDuration() <= 0 {
		t.Fatal(err, info, retry)
	}
}

func TestAWrongSecretFailsTheCallAsUnauthenticated(t *testing.T) {
	_, err := inventory(t, client(t, "wrong").DialOptions()...).GetItem(t.Context(), &inventoryv1.GetItemRequest{})
	info, _ := details(err)
	if status.Code(err) != codes.Unauthenticated || info.GetReason() != "CLIENT_AUTHENTICATION_FAILED" {
		t.Fatal(err)
	}
}
