// Command matrix is the Go program of the interop matrix: `matrix server`, or `matrix client HOST:PORT`.
// tests/interop/matrix/run documents the commands.
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"m2m.example/go/tokens"
	"m2m.example/go/verify"

	inventoryv1 "token.example/interop/gen"
)

func main() {
	pem, err := os.ReadFile(os.Getenv("TOKEN_CA_FILE"))
	if err != nil {
		log.Fatal(err)
	}
	roots := &tls.Config{RootCAs: x509.NewCertPool()}
	roots.RootCAs.AppendCertsFromPEM(pem)
	issuer := tokens.Issuer{URL: os.Getenv("TOKEN_ISSUER"), TLS: roots}
	if os.Args[1] == "server" {
		err = serve(issuer)
	} else {
		err = follow(issuer, os.Args[2])
	}
	if err != nil {
		log.Fatal(err)
	}
}

func serve(issuer tokens.Issuer) error {
	push, err := tokens.Watch(issuer)
	if err != nil {
		return err
	}
	trusted := verify.TrustedIssuer{Issuer: issuer.URL, Push: push}
	verifier, err := verify.New(verify.Config{Issuers: []verify.TrustedIssuer{trusted}})
	if err != nil {
		return err
	}
	options, err := tokens.Server(verifier, tokens.Serves(&inventoryv1.InventoryService_ServiceDesc))
	if err != nil {
		return err
	}
	identity, err := credentials.NewServerTLSFromFile(os.Getenv("TOKEN_TLS_CERTIFICATE"), os.Getenv("TOKEN_TLS_KEY"))
	if err != nil {
		return err
	}
	server := grpc.NewServer(append(options, grpc.Creds(identity))...)
	inventoryv1.RegisterInventoryServiceServer(server, inventory{})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println("port", listener.Addr().(*net.TCPAddr).Port)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		server.Stop()
	}()
	return server.Serve(listener)
}

type inventory struct {
	inventoryv1.UnimplementedInventoryServiceServer
}

// An item that is named by the token of the call.
func item(ctx context.Context) (*inventoryv1.Item, string) {
	caller, _ := tokens.CallerFrom(ctx)
	return &inventoryv1.Item{Name: caller.Bearer()}, caller.ClientID()
}

func (inventory) GetItem(ctx context.Context, _ *inventoryv1.GetItemRequest) (*inventoryv1.GetItemResponse, error) {
	item, client := item(ctx)
	return &inventoryv1.GetItemResponse{Item: item, AskedBy: client}, nil
}

func (inventory) ListItems(_ *inventoryv1.ListItemsRequest, stream grpc.ServerStreamingServer[inventoryv1.ListItemsResponse]) error {
	item, _ := item(stream.Context())
	for {
		if err := stream.Send(&inventoryv1.ListItemsResponse{Item: item}); err != nil {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (inventory) DeleteItem(context.Context, *inventoryv1.DeleteItemRequest) (*inventoryv1.DeleteItemResponse, error) {
	return &inventoryv1.DeleteItemResponse{}, nil
}

func (inventory) GetOpeningHours(context.Context, *inventoryv1.GetOpeningHoursRequest) (*inventoryv1.GetOpeningHoursResponse, error) {
	return &inventoryv1.GetOpeningHoursResponse{Hours: "around the clock"}, nil
}

func follow(issuer tokens.Issuer, address string) error {
	source, err := tokens.ClientCredentials(issuer, os.Getenv("TOKEN_CLIENT_ID"), os.Getenv("TOKEN_CLIENT_SECRET"))
	if err != nil {
		return err
	}
	client, err := tokens.NewClient(source)
	if err != nil {
		return err
	}
	transport := grpc.WithTransportCredentials(credentials.NewTLS(issuer.TLS))
	conn, err := client.NewConn(address, transport)
	if err != nil {
		return err
	}
	plain, err := grpc.NewClient(address, transport)
	if err != nil {
		return err
	}
	calls := calls{ours: inventoryv1.NewInventoryServiceClient(conn), bare: inventoryv1.NewInventoryServiceClient(plain)}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		answer, err := calls.run(lines.Text())
		if err != nil {
			failed := status.Convert(err)
			reason := "none"
			for _, detail := range failed.Details() {
				if info, ok := detail.(*errdetails.ErrorInfo); ok {
					reason = info.GetReason()
				}
			}
			answer = fmt.Sprintf("error %d %s", failed.Code(), reason)
		} else {
			answer = "ok " + answer
		}
		fmt.Println(answer)
	}
	return lines.Err()
}

type calls struct {
	ours, bare inventoryv1.InventoryServiceClient
	stream     grpc.ServerStreamingClient[inventoryv1.ListItemsResponse]
}

func (c *calls) run(command string) (answer string, err error) {
	ctx := context.Background()
	switch command {
	case "bare":
		_, err = c.bare.GetItem(ctx, &inventoryv1.GetItemRequest{})
	case "hours":
		found, failed := c.ours.GetOpeningHours(ctx, &inventoryv1.GetOpeningHoursRequest{})
		answer, err = found.GetHours(), failed
	case "get":
		found, failed := c.ours.GetItem(ctx, &inventoryv1.GetItemRequest{})
		answer, err = found.GetAskedBy()+" "+found.GetItem().GetName(), failed
	case "delete":
		_, err = c.ours.DeleteItem(ctx, &inventoryv1.DeleteItemRequest{})
	case "open":
		if c.stream, err = c.ours.ListItems(ctx, &inventoryv1.ListItemsRequest{}); err == nil {
			message, failed := c.stream.Recv()
			answer, err = message.GetItem().GetName(), failed
		}
	case "end":
		for err == nil {
			_, err = c.stream.Recv()
		}
	default:
		log.Fatal("not a command: ", command)
	}
	return answer, err
}
