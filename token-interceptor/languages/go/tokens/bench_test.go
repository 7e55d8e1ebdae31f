package tokens

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"strconv"
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

// BenchmarkRounds measures unary calls over loopback: the plain echo, with the server layer, and with the
// client layer. Each round has all three, in turn. It prints processor time in microseconds per call, for
// ../bench:
//
//	go test -run '^$' -bench '^BenchmarkRounds$' -benchtime 1x ./tokens
func BenchmarkRounds(b *testing.B) {
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
	// Every call sends the same header, so that only the layers differ.
	header := []grpc.DialOption{grpc.WithPerRPCCredentials(&carried{header: "Bearer " + token})}
	connections := []catalogv1.CatalogClient{
		catalogv1.NewCatalogClient(dialed(b, nil, header)),
		catalogv1.NewCatalogClient(dialed(b, guard, header)),
		catalogv1.NewCatalogClient(dialed(b, nil, layer.DialOptions())),
	}
	work := func(client catalogv1.CatalogClient) float64 {
		before := processorTime()
		for range callsInARound {
			if _, err := client.Get(b.Context(), &catalogv1.Message{Text: "x"}); err != nil {
				b.Fatal(err)
			}
		}
		return float64((processorTime() - before).Nanoseconds()) / 1000 / callsInARound
	}
	for _, client := range connections { // warms up
		work(client)
	}
	rounds, err := strconv.Atoi(cmp.Or(os.Getenv("BENCH_ROUNDS"), "151"))
	if err != nil {
		b.Fatal(err)
	}
	var costs [][]float64
	var newTokens []float64
	for round := range rounds {
		cost := make([]float64, len(connections))
		for turn := range connections {
			which := (round + turn) % len(connections)
			cost[which] = work(connections[which])
		}
		costs = append(costs, cost)
		newTokens = append(newTokens, newToken(b, issuer, token))
	}
	report, err := json.Marshal(map[string]any{"rounds": costs, "new_token": newTokens})
	if err != nil {
		b.Fatal(err)
	}
	fmt.Printf("\n%s\n", report)
}

const (
	// callsInARound are the calls of one kind in one round.
	callsInARound = 200
	// newTokensInARound are the verifications of new tokens in one round.
	newTokensInARound = 50
)

// newToken returns the processor time of the verification of a token that was not seen before.
func newToken(b *testing.B, issuer *testissuer.Issuer, token string) float64 {
	b.Helper()
	verifier, err := verify.New(verify.Config{Issuers: []verify.TrustedIssuer{issuer.Trusted()}, CacheBytesMax: -1})
	if err != nil {
		b.Fatal(err)
	}
	defer verifier.Close()
	before := processorTime()
	for range newTokensInARound {
		if _, err := verifier.Verify(b.Context(), token, "catalog"); err != nil {
			b.Fatal(err)
		}
	}
	return float64((processorTime() - before).Nanoseconds()) / 1000 / newTokensInARound
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
