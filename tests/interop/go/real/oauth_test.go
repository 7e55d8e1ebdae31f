package real

import (
	"errors"
	"net/http"
	"net/url"
	"testing"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"m2m.example/go/verify"
)

func clientCredentials(t *testing.T, style oauth2.AuthStyle) *clientcredentials.Config {
	t.Helper()
	return &clientcredentials.Config{
		ClientID:       env(t, "TOKEN_CLIENT_ID"),
		ClientSecret:   env(t, "TOKEN_CLIENT_SECRET"),
		TokenURL:       env(t, "TOKEN_ISSUER") + "/oauth/token",
		AuthStyle:      style,
		EndpointParams: url.Values{"audience": {audience}},
		Scopes:         []string{"inventory.read"},
	}
}

// Gets a token with golang.org/x/oauth2.
func issued(t *testing.T) string {
	t.Helper()
	token, err := clientCredentials(t, oauth2.AuthStyleInHeader).Token(trusting(t))
	if err != nil {
		t.Fatal(err)
	}
	return token.AccessToken
}

func TestXOAuth2GetsATokenThatTheVerifierAccepts(t *testing.T) {
	verifier := verifier(t, verify.TrustedIssuer{})
	for name, style := range map[string]oauth2.AuthStyle{
		"client_secret_basic": oauth2.AuthStyleInHeader,
		"client_secret_post":  oauth2.AuthStyleInParams,
		"found by itself":     oauth2.AuthStyleAutoDetect,
	} {
		t.Run(name, func(t *testing.T) {
			token, err := clientCredentials(t, style).Token(trusting(t))
			if err != nil {
				t.Fatal(err)
			}
			if token.Type() != "Bearer" || token.Expiry.IsZero() || token.Extra("scope") != "inventory.read" {
				t.Fatal("an answer that RFC 6749 section 5.1 does not allow")
			}
			caller, err := verifier.Verify(t.Context(), token.AccessToken, audience)
			if err != nil || caller.ClientID() != env(t, "TOKEN_CLIENT_ID") || caller.Subject() != caller.ClientID() {
				t.Fatal(caller, err)
			}
		})
	}
}

func TestXOAuth2ReadsInvalidClient(t *testing.T) {
	config := clientCredentials(t, oauth2.AuthStyleInHeader)
	config.ClientSecret = "wrong"
	_, err := config.Token(trusting(t))
	var failure *oauth2.RetrieveError
	if !errors.As(err, &failure) || failure.ErrorCode != "invalid_client" ||
		failure.Response.StatusCode != http.StatusUnauthorized {
		t.Fatal(err)
	}
}

func TestXOAuth2ReadsInvalidScope(t *testing.T) {
	config := clientCredentials(t, oauth2.AuthStyleInHeader)
	config.Scopes = []string{"inventory.destroy"}
	_, err := config.Token(trusting(t))
	var failure *oauth2.RetrieveError
	if !errors.As(err, &failure) || failure.ErrorCode != "invalid_scope" {
		t.Fatal(err)
	}
}
