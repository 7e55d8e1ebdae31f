// The first call of a Go client, as the documentation shows it.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log"
	"os"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	inventoryv1 "token.example/interop/gen"
	"token.example/interop/tokencredentials"
)

func main() {
	pem, err := os.ReadFile(os.Getenv("TOKEN_CA_FILE"))
	if err != nil {
		log.Fatal(err)
	}
	roots := &tls.Config{RootCAs: x509.NewCertPool()} // nil where the system trusts the issuer's certificate
	roots.RootCAs.AppendCertsFromPEM(pem)

	tokens, err := tokencredentials.New(tokencredentials.Config{
		Issuer:       strings.TrimPrefix(os.Getenv("TOKEN_ISSUER"), "https://"), // host:port
		TLS:          roots,
		ClientID:     os.Getenv("TOKEN_CLIENT_ID"),
		ClientSecret: os.Getenv("TOKEN_CLIENT_SECRET"),
		Audience:     "inventory",
	})
	if err != nil {
		log.Fatal(err)
	}
	conn, err := grpc.NewClient(os.Getenv("INVENTORY"),
		grpc.WithTransportCredentials(credentials.NewTLS(roots)), grpc.WithPerRPCCredentials(tokens))
	if err != nil {
		log.Fatal(err)
	}
	inventory := inventoryv1.NewInventoryServiceClient(conn)
	answer, err := inventory.GetItem(context.Background(), &inventoryv1.GetItemRequest{Sku: "sp-1"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(answer.GetItem().GetName(), "asked by", answer.GetAskedBy())
}
