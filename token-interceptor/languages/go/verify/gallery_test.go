package verify

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"testing"
	"time"
)

type gallery struct {
	Issuer, Audience string
	JWKS             json.RawMessage
	Good, Forgeries  []struct{ Name, Token, Reason string }
}

func readGallery(t *testing.T) gallery {
	t.Helper()
	text, err := os.ReadFile("../../../testdata/forgeries.json")
	if err != nil {
		t.Fatal(err)
	}
	var found gallery
	if err := json.Unmarshal(text, &found); err != nil {
		t.Fatal(err)
	}
	if len(found.Good) < 5 || len(found.Forgeries) < 100 {
		t.Fatal("the gallery is empty")
	}
	return found
}

func at(seconds int64) func() time.Time {
	return func() time.Time { return time.Unix(seconds, 0) }
}

const galleryTime = 1_767_225_660

func TestTheGalleryGetsTheVerdictsThatItNames(t *testing.T) {
	gallery := readGallery(t)
	for name, trusted := range map[string]TrustedIssuer{
		"fixed":   {Issuer: gallery.Issuer, Keys: must(ParseKeySet(gallery.JWKS))(t)},
		"fetched": {Issuer: gallery.Issuer, Fetch: func(context.Context) ([]byte, error) { return gallery.JWKS, nil }},
	} {
		t.Run(name, func(t *testing.T) {
			verifier := must(New(Config{Issuers: []TrustedIssuer{trusted}, Now: at(galleryTime)}))(t)
			defer verifier.Close()
			for _, good := range gallery.Good {
				for range 2 { // the second time from the cache
					if _, err := verifier.Verify(t.Context(), good.Token, gallery.Audience); err != nil {
						t.Error(good.Name, err)
					}
				}
			}
			for _, forgery := range gallery.Forgeries {
				_, err := verifier.Verify(t.Context(), forgery.Token, gallery.Audience)
				var refusal *Refusal
				if !errors.As(err, &refusal) || refusal.Reason() != forgery.Reason {
					t.Errorf("%s: %v, expected %s", forgery.Name, err, forgery.Reason)
				}
			}
		})
	}
}

func must[T any](value T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}
