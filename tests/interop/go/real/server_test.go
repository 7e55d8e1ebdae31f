package real

import (
	"context"
	"crypto/tls"
	"net"
	"os/exec"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"m2m.example/go/policy"
	"m2m.example/go/tokens"
	"m2m.example/go/verify"

	inventoryv1 "token.example/interop/gen"
)

type goInventory struct {
	inventoryv1.UnimplementedInventoryServiceServer
}

func (goInventory) GetOpeningHours(context.Context, *inventoryv1.GetOpeningHoursRequest) (*inventoryv1.GetOpeningHoursResponse, error) {
	return &inventoryv1.GetOpeningHoursResponse{Hours: "around the clock"}, nil
}

func (goInventory) ListItems(_ *inventoryv1.ListItemsRequest, stream grpc.ServerStreamingServer[inventoryv1.ListItemsResponse]) error {
	if err := stream.Send(&inventoryv1.ListItemsResponse{Item: &inventoryv1.Item{Name: "served by Go"}}); err != nil {
		return err
	}
	if len(metadata.ValueFromIncomingContext(stream.Context(), "x-wait")) > 0 {
		<-stream.Context().Done()
	}
	return nil
}

func (goInventory) GetItem(ctx context.Context, request *inventoryv1.GetItemRequest) (*inventoryv1.GetItemResponse, error) {
	caller, _ := tokens.CallerFrom(ctx)
	return &inventoryv1.GetItemResponse{
		Item:    &inventoryv1.Item{Sku: request.GetSku(), Name: "served by Go", InStock: 1},
		AskedBy: caller.ClientID(),
	}, nil
}

// The issuer of the suite, with the changes of trusted.
func verifier(t *testing.T, trusted verify.TrustedIssuer) *verify.Verifier {
	t.Helper()
	trusted.Issuer, trusted.TLS = env(t, "TOKEN_ISSUER"), trust(t)
	verifier, err := verify.New(verify.Config{Issuers: []verify.TrustedIssuer{trusted}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(verifier.Close)
	return verifier
}

func table(t *testing.T) *policy.Table {
	t.Helper()
	table, err := policy.Linked([]string{inventoryv1.InventoryService_ServiceDesc.ServiceName}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// The inventory service as a Go server: TLS, and one call around every method.
func serve(t *testing.T, trusted verify.TrustedIssuer) string {
	t.Helper()
	guard, err := tokens.Server(verifier(t, trusted), tokens.Serves(&inventoryv1.InventoryService_ServiceDesc))
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := tls.LoadX509KeyPair(env(t, "TOKEN_TLS_CERTIFICATE"), env(t, "TOKEN_TLS_KEY"))
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(append(guard, grpc.Creds(credentials.NewServerTLSFromCert(&certificate)))...)
	inventoryv1.RegisterInventoryServiceServer(server, goInventory{})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return listener.Addr().String()
}

func TestAGoServerTakesOurTokensAndNoOthers(t *testing.T) {
	ours := inventoryv1.NewInventoryServiceClient(dial(t, serve(t, verify.TrustedIssuer{}), withTokens(t)...))
	answer, err := ours.GetItem(t.Context(), &inventoryv1.GetItemRequest{Sku: "A-1"})
	if err != nil || answer.GetAskedBy() != env(t, "TOKEN_CLIENT_ID") {
		t.Fatal(answer, err)
	}
	if _, err := ours.DeleteItem(t.Context(), &inventoryv1.DeleteItemRequest{}); status.Code(err) != codes.PermissionDenied {
		t.Fatal(err)
	}
	list, err := ours.ListItems(t.Context(), &inventoryv1.ListItemsRequest{})
	if err == nil {
		_, err = list.Recv()
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestAGoServerRefusesEverythingElse(t *testing.T) {
	service := inventoryv1.NewInventoryServiceClient(dial(t, serve(t, verify.TrustedIssuer{})))
	token := issued(t)
	segments := strings.Split(token, ".")
	for name, headers := range map[string][]string{
		"no token":             nil,
		"no bearer":            {"Basic " + token},
		"two tokens":           {"Bearer " + token, "Bearer " + token},
		"no signature":         {"Bearer " + segments[0] + "." + segments[1] + "."},
		"another's signature":  {"Bearer " + segments[0] + "." + segments[1] + "." + strings.Repeat("A", 86)},
		"something else":       {"Bearer something"},
		"another's key":        {"Bearer " + token[:len(token)-4] + "AAAA"},
		"a token in lowercase": {"Bearer " + strings.ToLower(token)},
	} {
		ctx := metadata.NewOutgoingContext(t.Context(), metadata.MD{"authorization": headers})
		if _, err := service.GetItem(ctx, &inventoryv1.GetItemRequest{}); status.Code(err) != codes.Unauthenticated {
			t.Errorf("%s: %v", name, err)
		}
	}
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+token)
	if _, err := service.GetItem(ctx, &inventoryv1.GetItemRequest{}); err != nil {
		t.Fatal("the token that the others are made of:", err)
	}
}

func TestAGoServerRefusesATokenForAnotherAudience(t *testing.T) {
	service := inventoryv1.NewInventoryServiceClient(dial(t, serve(t, verify.TrustedIssuer{Audiences: []string{"elsewhere"}}), withTokens(t)...))
	if _, err := service.GetItem(t.Context(), &inventoryv1.GetItemRequest{}); status.Code(err) != codes.Unauthenticated {
		t.Fatal(err)
	}
}

// Runs the Rust example client: allowed, denied, and the reasons.
func TestTheRustClientOfAGoServer(t *testing.T) {
	address := serve(t, verify.TrustedIssuer{})
	_, port, _ := net.SplitHostPort(address)
	orders := exec.CommandContext(t.Context(), env(t, "ORDERS"), "--seconds", "0", "--inventory", "https://localhost:"+port)
	told, err := orders.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, told)
	}
	for _, holds := range []string{
		"served by Go, asked by orders",
		"DeleteItem with a token for inventory.read: PERMISSION_DENIED SCOPE_INSUFFICIENT, missing scope: inventory.write",
		"Everything holds.",
	} {
		if !strings.Contains(string(told), holds) {
			t.Errorf("not told: %s\n%s", holds, told)
		}
	}
}

func TestAGoServerSaysWhyItRefuses(t *testing.T) {
	service := inventoryv1.NewInventoryServiceClient(dial(t, serve(t, verify.TrustedIssuer{})))
	for sent, reason := range map[string]string{"": "CREDENTIALS_MISSING", "Bearer a.b.c": "TOKEN_INVALID"} {
		ctx := t.Context()
		if sent != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, "authorization", sent)
		}
		var trailer metadata.MD
		_, err := service.GetItem(ctx, &inventoryv1.GetItemRequest{}, grpc.Trailer(&trailer))
		details := status.Convert(err).Details()
		if len(details) != 1 || details[0].(*errdetails.ErrorInfo).GetReason() != reason {
			t.Error(sent, details)
		}
		if challenge := trailer.Get("www-authenticate"); len(challenge) != 1 || !strings.HasPrefix(challenge[0], "Bearer") {
			t.Error(sent, trailer)
		}
	}
}
