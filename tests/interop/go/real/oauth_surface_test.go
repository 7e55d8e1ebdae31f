package real

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

// Introspection, revocation, private_key_jwt and token exchange. golang.org/x/oauth2 makes the requests that
// it has parameters for. The others are plain forms.

const (
	exchange    = "urn:ietf:params:oauth:grant-type:token-exchange"
	accessToken = "urn:ietf:params:oauth:token-type:access_token"
	assertions  = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
)

// A client that has a key pair and no secret, and may exchange tokens.
type keyed struct {
	id     string
	signer jose.Signer
}

func register(t *testing.T, id string) keyed {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	jwk, err := json.Marshal(jose.JSONWebKey{Key: key.Public()})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "public.jwk")
	if err := os.WriteFile(file, jwk, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, words := range [][]string{
		{"create", id, "--grant", audience + "=inventory.read", "--subject-audience", audience, "--grant-type", "client_credentials", "--grant-type", exchange},
		{"add-key", id, "--jwk", file},
	} {
		if err := exec.CommandContext(t.Context(), env(t, "TOKEN_SERVER"), append([]string{"client"}, words...)...).Run(); err != nil {
			t.Fatal(words[0], err)
		}
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		t.Fatal(err)
	}
	return keyed{id, signer}
}

// RFC 10070: the audience is the issuer and not the endpoint. Each assertion is valid once.
func (k keyed) assertion(t *testing.T) string {
	t.Helper()
	now := time.Now()
	claims := jwt.Claims{
		Issuer: k.id, Subject: k.id, Audience: jwt.Audience{env(t, "TOKEN_ISSUER")}, ID: rand.Text(),
		IssuedAt: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(time.Minute)),
	}
	assertion, err := jwt.Signed(k.signer).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return assertion
}

func (k keyed) config(t *testing.T, more url.Values) *clientcredentials.Config {
	t.Helper()
	parameters := url.Values{
		"audience": {audience}, "client_assertion_type": {assertions}, "client_assertion": {k.assertion(t)},
	}
	for name, values := range more {
		parameters[name] = values
	}
	return &clientcredentials.Config{
		ClientID: k.id, TokenURL: env(t, "TOKEN_ISSUER") + "/oauth/token",
		AuthStyle: oauth2.AuthStyleInParams, EndpointParams: parameters,
	}
}

func claims(t *testing.T, token string) map[string]any {
	t.Helper()
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := parsed.UnsafeClaimsWithoutVerification(&claims); err != nil {
		t.Fatal(err)
	}
	return claims
}

// Posts a form with client_secret_basic. Returns the status and the JSON body.
func post(t *testing.T, path string, form url.Values) (int, map[string]any) {
	t.Helper()
	request, err := http.NewRequestWithContext(
		t.Context(), http.MethodPost, env(t, "TOKEN_ISSUER")+path, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	request.SetBasicAuth(url.QueryEscape(env(t, "TOKEN_CLIENT_ID")), url.QueryEscape(env(t, "TOKEN_CLIENT_SECRET")))
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: trust(t)}}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	var body map[string]any
	_ = json.NewDecoder(response.Body).Decode(&body)
	return response.StatusCode, body
}

func TestATokenIsActiveUntilItIsRevoked(t *testing.T) {
	token := issued(t)
	status, body := post(t, "/oauth/introspect", url.Values{"token": {token}})
	if status != http.StatusOK || body["active"] != true || body["client_id"] != env(t, "TOKEN_CLIENT_ID") {
		t.Fatal(status, body)
	}
	if status, body := post(t, "/oauth/revoke", url.Values{"token": {token}}); status != http.StatusOK {
		t.Fatal(status, body)
	}
	if status, body := post(t, "/oauth/introspect", url.Values{"token": {token}}); status != http.StatusOK || body["active"] != false {
		t.Fatal(status, body)
	}
}

func TestXOAuth2ProvesAClientByItsKeyPairAndAnAssertionIsGoodOnce(t *testing.T) {
	client := register(t, "keyed-by-go")
	config := client.config(t, nil)
	token, err := config.Token(trusting(t))
	if err != nil {
		t.Fatal(err)
	}
	if claims(t, token.AccessToken)["client_id"] != client.id {
		t.Fatal("another client's token")
	}
	_, err = config.Token(trusting(t))
	var failure *oauth2.RetrieveError
	if !errors.As(err, &failure) || failure.ErrorCode != "invalid_client" {
		t.Fatal(err)
	}
}

func TestXOAuth2ExchangesATokenThatNamesItsSubjectAndItsActor(t *testing.T) {
	client := register(t, "exchanging-by-go")
	token, err := client.config(t, url.Values{
		"grant_type": {exchange}, "subject_token": {issued(t)}, "subject_token_type": {accessToken},
	}).Token(trusting(t))
	if err != nil {
		t.Fatal(err)
	}
	found := claims(t, token.AccessToken)
	if found["sub"] != env(t, "TOKEN_CLIENT_ID") || found["client_id"] != client.id ||
		found["act"].(map[string]any)["sub"] != client.id || token.Extra("issued_token_type") != accessToken {
		t.Fatal("not on behalf of whom the subject token names")
	}
}
