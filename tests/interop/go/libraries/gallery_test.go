// Package libraries holds the forged tokens against other libraries, and against m2m.example/go over the
// wire.
package libraries

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"testing"

	"github.com/MicahParks/keyfunc/v3"
	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/golang-jwt/jwt/v5"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"m2m.example/go/tokens"
	"m2m.example/go/verify"

	inventoryv1 "token.example/interop/gen"
)

func read(t *testing.T, path string, into any) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(content, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Runs every forged token of the gallery. gallery.json records the accepted ones.
func TestAcceptsWhatIsOnRecord(t *testing.T) {
	var gallery struct {
		Issuer, Audience string
		JWKS             json.RawMessage
		Good, Forgeries  []struct{ Name, Token string }
	}
	var record map[string][]string
	read(t, "../../../../token-interceptor/testdata/forgeries.json", &gallery)
	read(t, "../../gallery.json", &record)
	if len(gallery.Forgeries) < 100 {
		t.Fatal("the gallery is empty")
	}
	keys := httptest.NewServer(http.HandlerFunc(func(answer http.ResponseWriter, _ *http.Request) {
		_, _ = answer.Write(gallery.JWKS)
	}))
	defer keys.Close()
	config := &oidc.Config{ClientID: gallery.Audience, SupportedSigningAlgs: []string{oidc.ES256}}
	library := oidc.NewVerifier(gallery.Issuer, oidc.NewRemoteKeySet(t.Context(), keys.URL), config)
	verifier, err := verify.New(verify.Config{Issuers: []verify.TrustedIssuer{{Issuer: gallery.Issuer, JWKSURL: keys.URL}}})
	if err != nil {
		t.Fatal(err)
	}
	defer verifier.Close()

	for name, accepts := range map[string]func(context.Context, string) error{
		"go-oidc":    func(ctx context.Context, token string) error { _, err := library.Verify(ctx, token); return err },
		"golang-jwt": golangJWT(t, gallery.Issuer, gallery.Audience, gallery.JWKS),
		"m2m.example/go": func(ctx context.Context, token string) error {
			_, err := verifier.Verify(ctx, token, gallery.Audience)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, good := range gallery.Good {
				if err := accepts(t.Context(), good.Token); err != nil {
					t.Error(good.Name, err)
				}
			}
			var accepted []string
			for _, forgery := range gallery.Forgeries {
				if accepts(t.Context(), forgery.Token) == nil {
					accepted = append(accepted, forgery.Name)
				}
			}
			if !slices.Equal(accepted, record[name]) {
				t.Errorf("accepted: %q", accepted)
			}
		})
	}

	t.Run("a server, over the wire", func(t *testing.T) {
		passes := served(t, verifier)
		for _, good := range gallery.Good {
			if !passes(good.Token) {
				t.Error(good.Name)
			}
		}
		for _, forgery := range gallery.Forgeries {
			// The transport rejects a token that is longer than a header may be.
			if len(forgery.Token) < 8000 && passes(forgery.Token) {
				t.Error(forgery.Name)
			}
		}
	})
}

// Returns whether a server accepts a token. As in an application, the verifier protects every method.
func served(t *testing.T, verifier *verify.Verifier) func(token string) bool {
	t.Helper()
	guard, err := tokens.Server(verifier, tokens.Serves(&inventoryv1.InventoryService_ServiceDesc))
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(guard...)
	inventoryv1.RegisterInventoryServiceServer(server, inventoryv1.UnimplementedInventoryServiceServer{})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	service := inventoryv1.NewInventoryServiceClient(conn)
	return func(token string) bool {
		ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+token)
		_, err := service.GetItem(ctx, &inventoryv1.GetItemRequest{})
		switch status.Code(err) {
		case codes.Unauthenticated:
			return false
		// The scope and the handler, which are missing for most tokens, are checked after the token.
		case codes.PermissionDenied, codes.Unimplemented:
			return true
		default:
			t.Error(err)
			return false
		}
	}
}

func golangJWT(t *testing.T, issuer, audience string, jwks []byte) func(context.Context, string) error {
	t.Helper()
	// keyfunc rejects a key set with an unknown kty, against RFC 7517 section 5.
	var set struct {
		Keys []map[string]any `json:"keys"`
	}
	if err := json.Unmarshal(jwks, &set); err != nil {
		t.Fatal(err)
	}
	set.Keys = slices.DeleteFunc(set.Keys, func(key map[string]any) bool { return key["kty"] == "unheard-of" })
	known, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := keyfunc.NewJWKSetJSON(known)
	if err != nil {
		t.Fatal(err)
	}
	parser := jwt.NewParser(jwt.WithIssuer(issuer), jwt.WithAudience(audience),
		jwt.WithValidMethods([]string{"ES256"}), jwt.WithExpirationRequired())
	return func(_ context.Context, token string) error {
		_, err := parser.Parse(token, keys.Keyfunc)
		return err
	}
}
