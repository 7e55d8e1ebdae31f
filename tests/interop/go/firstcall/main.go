// Command firstcall makes the first call of a client, as the documentation shows it.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"m2m.example/go/tokens"

	inventoryv1 "token.example/interop/gen"
)

func main() {
	pem, err := os.ReadFile(os.Getenv("TOKEN_CA_FILE"))
	if err != nil {
		log.Fatal(err)
	}
	roots := &tls.Config{RootCAs: x509.NewCertPool()} // nil where the system trusts the issuer's certificate
	roots.RootCAs.AppendCertsFromPEM(pem)

	issuer := tokens.Issuer{URL: os.Getenv("TOKEN_ISSUER"), TLS: roots}
	source, err := tokens.ClientCredentials(issuer, os.Getenv("TOKEN_CLIENT_ID"), os.Getenv("TOKEN_CLIENT_SECRET"))
	if err != nil {
		log.Fatal(err)
	}
	client, err := tokens.NewClient(source)
	if err != nil {
		log.Fatal(err)
	}
	conn, err := client.NewConn(os.Getenv("INVENTORY"), grpc.WithTransportCredentials(credentials.NewTLS(roots)))
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
