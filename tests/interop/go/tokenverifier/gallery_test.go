package tokenverifier

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"
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

// Every forged token of the gallery, and which of them get through; gallery.json has them on record.
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
	library := oidc.NewVerifier(gallery.Issuer, oidc.NewRemoteKeySet(t.Context(), keys.URL), config(gallery.Audience))
	verifier := newVerifier(library, nil)

	for name, verify := range map[string]func(context.Context, string) error{
		"go-oidc":              func(ctx context.Context, token string) error { _, err := library.Verify(ctx, token); return err },
		"go-oidc, verifier.go": func(ctx context.Context, token string) error { _, err := verifier.Verify(ctx, token); return err },
	} {
		t.Run(name, func(t *testing.T) {
			for _, good := range gallery.Good {
				if err := verify(t.Context(), good.Token); err != nil {
					t.Error(good.Name, err)
				}
			}
			var accepted []string
			for _, forgery := range gallery.Forgeries {
				if verify(t.Context(), forgery.Token) == nil {
					accepted = append(accepted, forgery.Name)
				}
			}
			if !slices.Equal(accepted, record[name]) {
				t.Errorf("accepted: %q", accepted)
			}
		})
	}
}
