package tokens

import (
	"context"
	"net"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	catalogv1 "m2m.example/go/conformance/catalog/v1"
	"m2m.example/go/internal/testissuer"
	"m2m.example/go/source"
	"m2m.example/go/verify"
)

// BenchmarkCall measures a unary call over loopback: the plain echo, with the server layer, with the client
// layer, and with both.
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
			before := processorTime()
			defer func() {
				b.ReportMetric(float64(processorTime()-before)/float64(b.N), "cpu-ns/op")
			}()
			for b.Loop() {
				if _, err := client.Get(b.Context(), &catalogv1.Message{Text: "x"}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// processorTime is what the whole program, client and server, has used. It varies less than the time of day.
func processorTime() time.Duration {
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
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

// BenchmarkServerLayer measures the interceptor alone, for a token that was seen before.
func BenchmarkServerLayer(b *testing.B) {
	guarded, token := seen(b)
	ctx := metadata.NewIncomingContext(b.Context(), metadata.Pairs("authorization", "Bearer "+token))
	info := &grpc.UnaryServerInfo{FullMethod: "/conformance.catalog.v1.Catalog/Get"}
	handler := func(context.Context, any) (any, error) { return nil, nil }
	b.ReportAllocs()
	for b.Loop() {
		if _, err := guarded.unary(ctx, nil, info, handler); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkClientLayer measures the interceptor alone, and the header that it adds.
func BenchmarkClientLayer(b *testing.B) {
	_, token := seen(b)
	layer, err := NewClient(source.Static(token), AllowPlaintext())
	if err != nil {
		b.Fatal(err)
	}
	defer layer.Close()
	interceptor := layer.UnaryInterceptor()
	invoke := func(ctx context.Context, _ string, _, _ any, _ *grpc.ClientConn, options ...grpc.CallOption) error {
		_, err := options[len(options)-1].(grpc.PerRPCCredsCallOption).Creds.GetRequestMetadata(ctx)
		return err
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := interceptor(b.Context(), "/conformance.catalog.v1.Catalog/Get", nil, nil, nil, invoke); err != nil {
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
