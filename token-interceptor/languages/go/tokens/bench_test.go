package tokens

import (
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	catalogv1 "m2m.example/go/conformance/catalog/v1"
	"m2m.example/go/internal/testissuer"
	"m2m.example/go/source"
	"m2m.example/go/verify"
)

// BenchmarkCall measures a unary call over loopback: the plain echo, with the server layer, and with both layers.
//
//	go test -run '^$' -bench . -count 6 ./tokens
func BenchmarkCall(b *testing.B) {
	issuer := testissuer.New(b, issuerName)
	verifier, err := verify.New(verify.Config{Issuers: []verify.TrustedIssuer{issuer.Trusted()}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(verifier.Close)
	guard, err := Server(verifier, Serves(&catalogv1.Catalog_ServiceDesc))
	if err != nil {
		b.Fatal(err)
	}
	token := issuer.Token(time.Now().Unix(), map[string]any{"exp": time.Now().Unix() + 86_400})
	layer, err := NewClient(source.Static(token))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(layer.Close)
	header := grpc.WithPerRPCCredentials(&carried{header: "Bearer " + token})
	for _, one := range []struct {
		name   string
		server []grpc.ServerOption
		client []grpc.DialOption
	}{
		{"echo", nil, []grpc.DialOption{header}},
		{"verified", guard, []grpc.DialOption{header}},
		{"attached", nil, layer.DialOptions()},
		{"both", guard, layer.DialOptions()},
	} {
		b.Run(one.name, func(b *testing.B) {
			client := catalogv1.NewCatalogClient(dialed(b, one.server, one.client))
			for b.Loop() {
				if _, err := client.Get(b.Context(), &catalogv1.Message{Text: "x"}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func dialed(b *testing.B, options []grpc.ServerOption, dial []grpc.DialOption) *grpc.ClientConn {
	b.Helper()
	server := grpc.NewServer(options...)
	catalogv1.RegisterCatalogServer(server, catalog{})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	go func() { _ = server.Serve(listener) }()
	b.Cleanup(server.Stop)
	conn, err := grpc.NewClient(listener.Addr().String(), append(dial, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = conn.Close() })
	return conn
}

// BenchmarkDecide measures the decision on a call whose token was seen before.
func BenchmarkDecide(b *testing.B) {
	guarded, token := seen(b)
	authorization := []string{"Bearer " + token}
	b.ReportAllocs()
	for b.Loop() {
		if guarded.guard.Decide(b.Context(), "/conformance.catalog.v1.Catalog/Get", authorization).Refusal != nil {
			b.Fatal("refused")
		}
	}
}

// BenchmarkAttach measures the token of a call.
func BenchmarkAttach(b *testing.B) {
	_, token := seen(b)
	layer, err := NewClient(source.Static(token))
	if err != nil {
		b.Fatal(err)
	}
	defer layer.Close()
	b.ReportAllocs()
	for b.Loop() {
		call, err := layer.prepare(b.Context(), "/conformance.catalog.v1.Catalog/Get", "localhost:1")
		if err == nil {
			_, err = layer.obtain(b.Context(), call.token)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

func seen(b *testing.B) (*guarded, string) {
	b.Helper()
	issuer := testissuer.New(b, issuerName)
	verifier, err := verify.New(verify.Config{Issuers: []verify.TrustedIssuer{issuer.Trusted()}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(verifier.Close)
	guarded, err := newGuarded(verifier, []ServerOption{Serves(&catalogv1.Catalog_ServiceDesc)})
	if err != nil {
		b.Fatal(err)
	}
	return guarded, issuer.Token(time.Now().Unix(), map[string]any{"exp": time.Now().Unix() + 86_400})
}

// BenchmarkVerify measures a token that was not seen before.
func BenchmarkVerify(b *testing.B) {
	issuer := testissuer.New(b, issuerName)
	verifier, err := verify.New(verify.Config{Issuers: []verify.TrustedIssuer{issuer.Trusted()}, CacheBytesMax: -1})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(verifier.Close)
	token := issuer.Token(time.Now().Unix(), map[string]any{"exp": time.Now().Unix() + 86_400})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := verifier.Verify(b.Context(), token, "catalog"); err != nil {
			b.Fatal(err)
		}
	}
}
