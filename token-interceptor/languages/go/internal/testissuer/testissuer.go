// Package testissuer signs tokens for tests.
package testissuer

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"m2m.example/go/verify"
)

// Issuer is an issuer with one key.
type Issuer struct {
	Name string
	key  *ecdsa.PrivateKey
	test testing.TB
}

// New returns an issuer of this name.
func New(t testing.TB, name string) *Issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &Issuer{name, key, t}
}

// JWKS returns the issuer's JWK Set.
func (i *Issuer) JWKS() []byte {
	text, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &i.key.PublicKey, KeyID: "1", Algorithm: "ES256", Use: "sig"}}})
	if err != nil {
		i.test.Fatal(err)
	}
	return text
}

// Trusted returns the issuer with fixed keys.
func (i *Issuer) Trusted() verify.TrustedIssuer {
	keys, err := verify.ParseKeySet(i.JWKS())
	if err != nil {
		i.test.Fatal(err)
	}
	return verify.TrustedIssuer{Issuer: i.Name, Keys: keys}
}

// Token returns a token of client `orders` for audience `catalog`, issued at issued and valid for five
// minutes. changes replace its claims; nil removes one.
func (i *Issuer) Token(issued int64, changes map[string]any) string {
	claims := map[string]any{
		"iss": i.Name, "sub": "orders", "client_id": "orders", "aud": "catalog", "jti": "token-1",
		"iat": issued, "exp": issued + 300, "scope": "catalog.read",
	}
	for name, value := range changes {
		if claims[name] = value; value == nil {
			delete(claims, name)
		}
	}
	text, err := json.Marshal(claims)
	if err != nil {
		i.test.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: i.key, KeyID: "1"}},
		(&jose.SignerOptions{}).WithType("at+jwt"))
	if err != nil {
		i.test.Fatal(err)
	}
	signed, err := signer.Sign(text)
	if err != nil {
		i.test.Fatal(err)
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		i.test.Fatal(err)
	}
	return token
}
