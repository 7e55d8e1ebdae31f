package libraries

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"connectrpc.com/connect"
	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/genproto/googleapis/rpc/errdetails"

	"m2m.example/go/tokenhttp"
	"m2m.example/go/verify"

	inventoryv1 "token.example/interop/gen"
)

// The gallery's issuer, and its first valid token.
func gallery(t *testing.T) (*verify.Verifier, string) {
	t.Helper()
	var gallery struct {
		Issuer string
		JWKS   json.RawMessage
		Good   []struct{ Name, Token string }
	}
	read(t, "../../../../token-interceptor/testdata/forgeries.json", &gallery)
	keys, err := verify.ParseKeySet(gallery.JWKS)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := verify.New(verify.Config{Issuers: []verify.TrustedIssuer{{Issuer: gallery.Issuer, Keys: keys}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(verifier.Close)
	for _, good := range gallery.Good {
		if good.Name == "plain" {
			return verifier, good.Token
		}
	}
	t.Fatal("no token")
	return nil, ""
}

func guard(t *testing.T) (*tokenhttp.Guard, string) {
	t.Helper()
	verifier, token := gallery(t)
	guard, err := tokenhttp.New(verifier, []string{inventoryv1.InventoryService_ServiceDesc.ServiceName})
	if err != nil {
		t.Fatal(err)
	}
	return guard, token
}

// A Connect handler, and clients of the three protocols that it speaks.
func TestConnectHandlersAreGuardedInEachProtocol(t *testing.T) {
	guard, token := guard(t)
	unary := func(context.Context, *connect.Request[inventoryv1.GetOpeningHoursRequest]) (*connect.Response[inventoryv1.GetOpeningHoursResponse], error) {
		return connect.NewResponse(&inventoryv1.GetOpeningHoursResponse{Hours: "always"}), nil
	}
	get := func(ctx context.Context, _ *connect.Request[inventoryv1.GetItemRequest]) (*connect.Response[inventoryv1.GetItemResponse], error) {
		caller, _ := verify.CallerFrom(ctx)
		return connect.NewResponse(&inventoryv1.GetItemResponse{AskedBy: caller.ClientID()}), nil
	}
	list := func(_ context.Context, _ *connect.Request[inventoryv1.ListItemsRequest], _ *connect.ServerStream[inventoryv1.ListItemsResponse]) error {
		return nil
	}
	mux := http.NewServeMux()
	mux.Handle(inventoryv1.InventoryService_GetOpeningHours_FullMethodName,
		connect.NewUnaryHandler(inventoryv1.InventoryService_GetOpeningHours_FullMethodName, unary))
	mux.Handle(inventoryv1.InventoryService_GetItem_FullMethodName,
		connect.NewUnaryHandler(inventoryv1.InventoryService_GetItem_FullMethodName, get))
	mux.Handle(inventoryv1.InventoryService_ListItems_FullMethodName,
		connect.NewServerStreamHandler(inventoryv1.InventoryService_ListItems_FullMethodName, list))
	server := httptest.NewUnstartedServer(guard.Procedures(mux))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()

	for name, protocol := range map[string]connect.ClientOption{
		"connect": connect.WithProtoJSON(), "grpc": connect.WithGRPC(), "grpc-web": connect.WithGRPCWeb(),
	} {
		item := connect.NewClient[inventoryv1.GetItemRequest, inventoryv1.GetItemResponse](
			server.Client(), server.URL+inventoryv1.InventoryService_GetItem_FullMethodName, protocol)
		hours := connect.NewClient[inventoryv1.GetOpeningHoursRequest, inventoryv1.GetOpeningHoursResponse](
			server.Client(), server.URL+inventoryv1.InventoryService_GetOpeningHours_FullMethodName, protocol)
		items := connect.NewClient[inventoryv1.ListItemsRequest, inventoryv1.ListItemsResponse](
			server.Client(), server.URL+inventoryv1.InventoryService_ListItems_FullMethodName, protocol)
		if answer, err := hours.CallUnary(t.Context(), connect.NewRequest(&inventoryv1.GetOpeningHoursRequest{})); err != nil || answer.Msg.GetHours() != "always" {
			t.Error(name, answer, err)
		}
		_, err := item.CallUnary(t.Context(), connect.NewRequest(&inventoryv1.GetItemRequest{}))
		if code, reason := connect.CodeOf(err), reasonOf(t, err); code != connect.CodeUnauthenticated || reason != "CREDENTIALS_MISSING" {
			t.Error(name, code, reason, err)
		}
		// The gallery's plain token has no scope.
		request := connect.NewRequest(&inventoryv1.GetItemRequest{})
		request.Header().Set("Authorization", "Bearer "+token)
		_, err = item.CallUnary(t.Context(), request)
		if code, reason := connect.CodeOf(err), reasonOf(t, err); code != connect.CodePermissionDenied || reason != "SCOPE_INSUFFICIENT" {
			t.Error(name, code, reason, err)
		}
		stream, err := items.CallServerStream(t.Context(), connect.NewRequest(&inventoryv1.ListItemsRequest{}))
		if err == nil {
			stream.Receive()
			err = stream.Err()
		}
		if code, reason := connect.CodeOf(err), reasonOf(t, err); code != connect.CodeUnauthenticated || reason != "CREDENTIALS_MISSING" {
			t.Error(name, "stream", code, reason, err)
		}
	}
}

func reasonOf(t *testing.T, err error) string {
	t.Helper()
	failure, ok := err.(*connect.Error)
	if !ok {
		return ""
	}
	for _, detail := range failure.Details() {
		if value, err := detail.Value(); err == nil {
			if info, ok := value.(*errdetails.ErrorInfo); ok {
				return info.GetReason()
			}
		}
	}
	return ""
}

// A grpc-gateway that calls its server in process passes no gRPC interceptor, so its routes are guarded.
func TestARouteOfAGatewayIsGuardedByTheMethodsPolicy(t *testing.T) {
	guard, token := guard(t)
	gateway := runtime.NewServeMux()
	if err := gateway.HandlePath(http.MethodGet, "/v1/items/{sku}", func(answer http.ResponseWriter, _ *http.Request, _ map[string]string) {
		answer.WriteHeader(http.StatusNoContent)
	}); err != nil {
		t.Fatal(err)
	}
	route, err := guard.Method(inventoryv1.InventoryService_GetItem_FullMethodName, gateway)
	if err != nil {
		t.Fatal(err)
	}
	for sent, status := range map[string]int{"": 401, "Bearer a.b.c": 401, "Bearer " + token: 403} {
		request := httptest.NewRequest(http.MethodGet, "/v1/items/1", nil)
		if sent != "" {
			request.Header.Set("Authorization", sent)
		}
		answer := httptest.NewRecorder()
		route.ServeHTTP(answer, request)
		if answer.Code != status || answer.Header().Get("WWW-Authenticate") == "" {
			t.Error(sent, answer.Code, answer.Header())
		}
	}
}
