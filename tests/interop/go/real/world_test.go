// Package real has the tests against a real issuer and the Rust example application; see `run`.
package real

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"m2m.example/go/source"
	"m2m.example/go/tokens"
)

const audience = "inventory"

func env(t *testing.T, name string) string {
	t.Helper()
	value := os.Getenv(name)
	if value == "" {
		t.Fatalf("%s is not set: these tests run by `run`", name)
	}
	return value
}

// TLS settings that trust the certificates of the issuer and of the example application.
func trust(t *testing.T) *tls.Config {
	t.Helper()
	pem, err := os.ReadFile(env(t, "TOKEN_CA_FILE"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		t.Fatal("no certificate in TOKEN_CA_FILE")
	}
	return &tls.Config{RootCAs: roots}
}

// A context whose HTTP client trusts the issuer, for go-oidc and x/oauth2.
func trusting(t *testing.T) context.Context {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: trust(t), ForceAttemptHTTP2: true}}
	return oidc.ClientContext(t.Context(), client)
}

// A client layer of the example client, with this secret.
func client(t *testing.T, secret string, options ...tokens.ClientOption) *tokens.Client {
	t.Helper()
	issuer := tokens.Issuer{URL: env(t, "TOKEN_ISSUER"), TLS: trust(t)}
	source, err := tokens.ClientCredentials(issuer, env(t, "TOKEN_CLIENT_ID"), secret)
	if err != nil {
		t.Fatal(err)
	}
	return clientOf(t, source, options...)
}

func clientOf(t *testing.T, source source.Source, options ...tokens.ClientOption) *tokens.Client {
	t.Helper()
	found, err := tokens.NewClient(source, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(found.Close)
	return found
}

func dial(t *testing.T, target string, options ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	options = append(options, grpc.WithTransportCredentials(credentials.NewTLS(trust(t))))
	conn, err := grpc.NewClient(target, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// The details that this project attaches to a failed call.
func details(err error) (info *errdetails.ErrorInfo, retry *errdetails.RetryInfo) {
	for _, detail := range status.Convert(err).Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			info = detail
		case *errdetails.RetryInfo:
			retry = detail
		}
	}
	return info, retry
}
