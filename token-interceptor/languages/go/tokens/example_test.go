package tokens_test

import (
	"context"
	"fmt"
	"log"
	"net"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	catalogv1 "m2m.example/go/conformance/catalog/v1"
	"m2m.example/go/source"
	"m2m.example/go/tokens"
	"m2m.example/go/verify"
)

// A server whose keys and revocations are pushed, beside another issuer whose keys are fetched.
func ExampleServer() {
	watch, err := tokens.Watch(tokens.Issuer{URL: "https://tokens.example.com"})
	if err != nil {
		log.Fatal(err)
	}
	verifier, err := verify.New(verify.Config{Issuers: []verify.TrustedIssuer{
		{Issuer: "https://tokens.example.com", Push: watch, Clients: []string{"*"}},
		{Issuer: "https://login.example.com", Clients: []string{"partner-*"}, Scopes: []string{"catalog.read"}},
	}})
	if err != nil {
		log.Fatal(err)
	}
	options, err := tokens.Server(verifier, tokens.Serves(&catalogv1.Catalog_ServiceDesc))
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer(options...)
	catalogv1.RegisterCatalogServer(server, catalogv1.UnimplementedCatalogServer{})
	listener, err := net.Listen("tcp", ":443")
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(server.Serve(listener))
}

// A mistake in the policy is an error before the server starts.
func ExampleServer_mistake() {
	keys, err := verify.ParseKeySet([]byte(`{"keys":[]}`))
	if err != nil {
		log.Fatal(err)
	}
	verifier, err := verify.New(verify.Config{Issuers: []verify.TrustedIssuer{{Issuer: "https://tokens.example.com", Keys: keys}}})
	if err != nil {
		log.Fatal(err)
	}
	defer verifier.Close()
	_, err = tokens.Server(verifier, tokens.Serves(&catalogv1.Forgotten_ServiceDesc))
	fmt.Println(err)
	// Output: tokens.Server: the policy does not fit: /conformance.catalog.v1.Forgotten/Get: is served without a policy
}

// The caller of a call, in a handler.
func ExampleCallerFrom() {
	handle := func(ctx context.Context) string {
		caller, ok := tokens.CallerFrom(ctx)
		if !ok {
			return "a public method"
		}
		return caller.ClientID()
	}
	fmt.Println(handle(context.Background()))
	// Output: a public method
}

// A client of any OAuth issuer, found by discovery.
func ExampleNewClient() {
	issuer, err := source.NewHTTP(source.HTTP{
		Issuer: "https://login.example.com",
		Client: source.Client{ID: "orders", Secret: source.Secret(os.Getenv("CLIENT_SECRET") + "…")},
	})
	if err != nil {
		log.Fatal(err)
	}
	client, err := tokens.NewClient(issuer, tokens.WaitMax(2*time.Second), tokens.Sharing("/conformance.catalog.v1.Catalog/*"))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	conn, err := client.NewConn("catalog.example.com:443", grpc.WithTransportCredentials(credentials.NewTLS(nil)))
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	fmt.Println(conn.Target())
	// Output: catalog.example.com:443
}
