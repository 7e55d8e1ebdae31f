package verify

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"m2m.example/go/policy"
)

const testTime = 1_800_000_000

// signed returns a token of a key. changes replace its claims.
func signed(t *testing.T, algorithm jose.SignatureAlgorithm, key any, id string, changes map[string]any) string {
	t.Helper()
	claims := map[string]any{
		"iss": "https://a.example", "sub": "orders", "client_id": "orders", "aud": "catalog", "jti": "1",
		"iat": testTime, "exp": testTime + 300,
	}
	for name, value := range changes {
		claims[name] = value
	}
	text, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: jose.JSONWebKey{Key: key, KeyID: id}},
		(&jose.SignerOptions{}).WithType("application/AT+JWT"))
	if err != nil {
		t.Fatal(err)
	}
	signature, err := signer.Sign(text)
	if err != nil {
		t.Fatal(err)
	}
	return must(signature.CompactSerialize())(t)
}

func jwksOf(t *testing.T, keys ...jose.JSONWebKey) []byte {
	t.Helper()
	return must(json.Marshal(jose.JSONWebKeySet{Keys: keys}))(t)
}

func ecKey(t *testing.T, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	return must(ecdsa.GenerateKey(curve, rand.Reader))(t)
}

func reasonFor(err error) string {
	var refusal *Refusal
	if errors.As(err, &refusal) {
		return refusal.Reason()
	}
	return ""
}

func verifierOf(t *testing.T, trusted ...TrustedIssuer) *Verifier {
	t.Helper()
	verifier := must(New(Config{Issuers: trusted, Now: at(testTime)}))(t)
	t.Cleanup(verifier.Close)
	return verifier
}

func TestEveryAlgorithmIsSupported(t *testing.T) {
	ed, edPrivate, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p256, p384, p521 := ecKey(t, elliptic.P256()), ecKey(t, elliptic.P384()), ecKey(t, elliptic.P521())
	rs := must(rsa.GenerateKey(rand.Reader, 2048))(t)
	ps := must(rsa.GenerateKey(rand.Reader, 2048))(t)
	keys := must(ParseKeySet(jwksOf(t,
		jose.JSONWebKey{Key: ed, KeyID: "ed"}, jose.JSONWebKey{Key: &p256.PublicKey, KeyID: "p256"},
		jose.JSONWebKey{Key: &p384.PublicKey, KeyID: "p384", Algorithm: "ES384", Use: "sig"},
		jose.JSONWebKey{Key: &p521.PublicKey, KeyID: "p521"},
		jose.JSONWebKey{Key: &rs.PublicKey, KeyID: "rs"}, jose.JSONWebKey{Key: &ps.PublicKey, KeyID: "ps", Algorithm: "PS256"},
	)))(t)
	verifier := verifierOf(t, TrustedIssuer{Issuer: "https://a.example", Keys: keys, Algorithms: Algorithms()})
	byDefault := verifierOf(t, TrustedIssuer{Issuer: "https://a.example", Keys: keys})
	for _, one := range []struct {
		algorithm jose.SignatureAlgorithm
		key       any
		id        string
	}{{jose.EdDSA, edPrivate, "ed"}, {jose.ES256, p256, "p256"}, {jose.ES384, p384, "p384"}, {jose.ES512, p521, "p521"}, {jose.RS256, rs, "rs"}, {jose.PS256, ps, "ps"}} {
		token := signed(t, one.algorithm, one.key, one.id, nil)
		if _, err := verifier.Verify(t.Context(), token, "catalog"); err != nil {
			t.Error(one.algorithm, err)
		}
		if _, err := verifier.Verify(t.Context(), token[:len(token)-8]+"AAAAAAAA", "catalog"); reasonFor(err) != ReasonTokenInvalid {
			t.Error(one.algorithm, err)
		}
		accepted := slices.Contains(DefaultAlgorithms(), Algorithm(one.algorithm))
		if _, err := byDefault.Verify(t.Context(), token, "catalog"); (err == nil) != accepted {
			t.Error(one.algorithm, err)
		}
	}
	// One key, one algorithm.
	if _, err := verifier.Verify(t.Context(), signed(t, jose.PS256, rs, "rs", nil), "catalog"); reasonFor(err) != ReasonTokenInvalid {
		t.Error(err)
	}
	// RFC 9864's name of EdDSA.
	parts := strings.Split(signed(t, jose.EdDSA, edPrivate, "ed", nil), ".")
	header := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"Ed25519","kid":"ed","typ":"at+jwt"}`))
	signature := base64.RawURLEncoding.EncodeToString(ed25519.Sign(edPrivate, []byte(header+"."+parts[1])))
	if _, err := verifier.Verify(t.Context(), header+"."+parts[1]+"."+signature, "catalog"); err != nil {
		t.Error(err)
	}
}

func TestUnusableKeysAreSkipped(t *testing.T) {
	good := string(must(json.Marshal(jose.JSONWebKey{Key: &ecKey(t, elliptic.P256()).PublicKey, KeyID: "good"}))(t))
	point := must(json.Marshal(jose.JSONWebKey{Key: &ecKey(t, elliptic.P256()).PublicKey}))(t)
	var members map[string]string
	if err := json.Unmarshal(point, &members); err != nil {
		t.Fatal(err)
	}
	ec := func(change string) string {
		return fmt.Sprintf(`{"kty":"EC","crv":"P-256","x":%q,"y":%q%s}`, members["x"], members["y"], change)
	}
	modulus := func(bits uint) string {
		number := new(big.Int).Lsh(big.NewInt(1), bits-1)
		return base64.RawURLEncoding.EncodeToString(number.Add(number, big.NewInt(1)).Bytes())
	}
	for _, jwk := range []string{
		ec(`,"use":"enc"`), ec(`,"use":1`), ec(`,"key_ops":["sign"]`), ec(`,"key_ops":"verify"`), ec(`,"d":"AA"`), ec(`,"k":"AA"`),
		ec(`,"alg":"ES384"`), ec(`,"alg":"HS256"`), ec(`,"alg":1`), ec(`,"kid":1`), ec(`,"kty":"EC"`),
		`{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}`, `{"kty":"EC","crv":"P-521"}`, `{"kty":"oct","k":"AA"}`, `{}`, `1`, `"x"`, `null`,
		`{"kty":"OKP","crv":"X25519","x":"AA"}`, `{"kty":"OKP","crv":"Ed25519","x":"AA"}`,
		fmt.Sprintf(`{"kty":"EC","crv":"P-256","x":%q,"y":%q}`, members["y"], members["x"]),
		fmt.Sprintf(`{"kty":"RSA","n":%q,"e":"AQAB"}`, modulus(1024)), fmt.Sprintf(`{"kty":"RSA","n":%q,"e":"AQAB"}`, modulus(8193)),
		fmt.Sprintf(`{"kty":"RSA","n":%q,"e":"AQ"}`, modulus(2048)), fmt.Sprintf(`{"kty":"RSA","n":%q,"e":"Ag"}`, modulus(2048)),
		fmt.Sprintf(`{"kty":"RSA","n":%q,"e":"AQAB","alg":"ES256"}`, modulus(2048)),
	} {
		set, err := ParseKeySet([]byte(`{"keys":[` + jwk + "," + good + `],"more":{"a":1,"a":2}}`))
		if err != nil || set.Len() != 1 || set.Skipped() != 1 {
			t.Error(jwk, set, err)
		}
	}
	for _, usable := range []string{ec(""), ec(`,"key_ops":["verify"]`), ec(`,"alg":"ES256"`), fmt.Sprintf(`{"kty":"RSA","n":%q,"e":"AAEAAQ"}`, modulus(2048))} {
		if set, err := ParseKeySet([]byte(`{"keys":[` + usable + `]}`)); err != nil || set.Len() != 1 {
			t.Error(usable, err)
		}
	}
	for _, document := range []string{"", "[]", "{}", `{"keys":{}}`, `{"keys":[],"keys":[]}`, `{"keys":[]} x`, `{"keys":[1}`} {
		if _, err := ParseKeySet([]byte(document)); err == nil {
			t.Errorf("accepted: %s", document)
		}
	}
}

func TestATokenWithoutKeyIDIsTriedWithEachKey(t *testing.T) {
	first, second := ecKey(t, elliptic.P256()), ecKey(t, elliptic.P256())
	keys := must(ParseKeySet(jwksOf(t, jose.JSONWebKey{Key: &first.PublicKey, KeyID: "1"}, jose.JSONWebKey{Key: &second.PublicKey})))(t)
	verifier := verifierOf(t, TrustedIssuer{Issuer: "https://a.example", Keys: keys})
	for _, key := range []*ecdsa.PrivateKey{first, second} {
		if _, err := verifier.Verify(t.Context(), signed(t, jose.ES256, key, "", nil), "catalog"); err != nil {
			t.Error(err)
		}
	}
	if _, err := verifier.Verify(t.Context(), signed(t, jose.ES256, ecKey(t, elliptic.P256()), "", nil), "catalog"); reasonFor(err) != ReasonTokenInvalid {
		t.Error(err)
	}
}

func TestTheIssuersRightsLimitItsTokens(t *testing.T) {
	key := ecKey(t, elliptic.P256())
	keys := must(ParseKeySet(jwksOf(t, jose.JSONWebKey{Key: &key.PublicKey, KeyID: "1"})))(t)
	one := TrustedIssuer{Issuer: "https://a.example", Keys: keys}
	for name, expected := range map[string]struct {
		change func(*TrustedIssuer)
		reason string
	}{
		"as it is":  {func(*TrustedIssuer) {}, ""},
		"audience":  {func(i *TrustedIssuer) { i.Audiences = []string{"elsewhere"} }, ReasonAudienceMismatch},
		"client":    {func(i *TrustedIssuer) { i.Clients = []string{"b-*"} }, ReasonCallerNotAllowed},
		"prefix":    {func(i *TrustedIssuer) { i.Clients = []string{"ord*"} }, ""},
		"algorithm": {func(i *TrustedIssuer) { i.Algorithms = []Algorithm{ES384} }, ReasonTokenInvalid},
		"another":   {func(i *TrustedIssuer) { i.Issuer = "https://a.example/" }, ReasonTokenInvalid},
		"revocations": {func(i *TrustedIssuer) {
			i.Revocations = NewRevocations()
			i.Revocations.RevokeToken("1", time.Unix(testTime+900, 0))
		}, ReasonTokenRevoked},
	} {
		trusted := one
		expected.change(&trusted)
		_, err := verifierOf(t, trusted).Verify(t.Context(), signed(t, jose.ES256, key, "1", nil), "catalog")
		if reasonFor(err) != expected.reason {
			t.Error(name, err)
		}
	}
	one.Scopes = []string{"a.*"}
	token := must(verifierOf(t, one).Verify(t.Context(), signed(t, jose.ES256, key, "1", map[string]any{"scope": "b a.x a"}), "catalog"))(t)
	if scopes := fmt.Sprint(token.Scopes()); scopes != "[a.x]" {
		t.Error(scopes)
	}
}

func TestARevocationReachesDerivedTokensAndClients(t *testing.T) {
	key := ecKey(t, elliptic.P256())
	keys := must(ParseKeySet(jwksOf(t, jose.JSONWebKey{Key: &key.PublicKey, KeyID: "1"})))(t)
	later := time.Unix(testTime+900, 0)
	derived := map[string]any{"jti": "2", "client_id": "gateway", "m2m_ancestors": []any{"odd", []any{"1", "orders", testTime - 9}}}
	for name, one := range map[string]struct {
		revoke  func(*Revocations)
		claims  map[string]any
		revoked bool
	}{
		"ancestor":          {func(r *Revocations) { r.RevokeToken("1", later) }, derived, true},
		"ancestor's client": {func(r *Revocations) { r.RevokeClient("orders", time.Unix(testTime-8, 0), later) }, derived, true},
		"issued later":      {func(r *Revocations) { r.RevokeClient("orders", time.Unix(testTime-9, 0), later) }, derived, false},
		"the same second":   {func(r *Revocations) { r.RevokeClient("orders", time.Unix(testTime, 1), later) }, nil, true},
		"forgotten":         {func(r *Revocations) { r.RevokeToken("1", time.Unix(testTime-1, 0)); r.Forget(time.Unix(testTime, 0)) }, nil, false},
	} {
		revocations := NewRevocations()
		verifier := verifierOf(t, TrustedIssuer{Issuer: "https://a.example", Keys: keys, Revocations: revocations})
		token := signed(t, jose.ES256, key, "1", one.claims)
		if _, err := verifier.Verify(t.Context(), token, "catalog"); err != nil {
			t.Fatal(err)
		}
		one.revoke(revocations)
		if _, err := verifier.Verify(t.Context(), token, "catalog"); (reasonFor(err) == ReasonTokenRevoked) != one.revoked {
			t.Error(name, err)
		}
	}
}

func TestAWithdrawnKeyEndsItsTokensAndANewOneIsFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, next := ecKey(t, elliptic.P256()), ecKey(t, elliptic.P256())
		var fetches atomic.Int64
		var document atomic.Pointer[[]byte]
		publish := func(keys ...jose.JSONWebKey) {
			text := jwksOf(t, keys...)
			document.Store(&text)
		}
		publish(jose.JSONWebKey{Key: &old.PublicKey, KeyID: "old"})
		verifier := must(New(Config{Now: func() time.Time { return time.Unix(testTime, 0).Add(time.Since(time.Unix(946_684_800, 0))) }, Issuers: []TrustedIssuer{{
			Issuer: "https://a.example", MaxAge: time.Minute,
			Fetch: func(context.Context) ([]byte, error) {
				fetches.Add(1)
				time.Sleep(10 * time.Millisecond)
				if text := *document.Load(); text != nil {
					return text, nil
				}
				return nil, errors.New("unreachable")
			},
		}}}))(t)
		defer verifier.Close()
		ofOld, ofNext := signed(t, jose.ES256, old, "old", nil), signed(t, jose.ES256, next, "next", nil)
		verify := func(token string) string {
			_, err := verifier.Verify(t.Context(), token, "catalog")
			return reasonFor(err)
		}
		if reason := verify(ofOld); reason != "" {
			t.Fatal(reason)
		}
		// A flood of unknown keys is one fetch.
		for range 1000 {
			if reason := verify(ofNext); reason != ReasonKeyUnknown {
				t.Fatal(reason)
			}
		}
		if count := fetches.Load(); count != 2 {
			t.Fatal(count)
		}
		publish(jose.JSONWebKey{Key: &next.PublicKey, KeyID: "next"})
		time.Sleep(6 * time.Second)
		if reason := verify(ofNext); reason != "" {
			t.Fatal("the first token of a new key finds it:", reason)
		}
		if reason := verify(ofOld); reason != ReasonKeyUnknown {
			t.Fatal("a key that is withdrawn:", reason)
		}
		// An outage of any length.
		var nothing []byte
		document.Store(&nothing)
		time.Sleep(2 * time.Minute)
		if reason := verify(ofNext); reason != "" {
			t.Fatal(reason)
		}
		if reason := verify(ofOld); reason != ReasonTrustUnavailable {
			t.Fatal(reason)
		}
	})
}

func TestPushedTrustIsAppliedStepByStep(t *testing.T) {
	key, later := ecKey(t, elliptic.P256()), ecKey(t, elliptic.P256())
	jwk := func(key *ecdsa.PrivateKey, id string) string {
		return string(must(json.Marshal(jose.JSONWebKey{Key: &key.PublicKey, KeyID: id}))(t))
	}
	steps := make(chan TrustStep)
	applied := make(chan error)
	trusted := TrustedIssuer{Issuer: "https://a.example", Push: func(ctx context.Context, trust *Trust) error {
		for {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case step := <-steps:
				err := trust.Apply(step)
				applied <- err
				if err != nil {
					return err
				}
			}
		}
	}}
	verifier := verifierOf(t, trusted)
	apply := func(step TrustStep) error {
		steps <- step
		return <-applied
	}
	verify := func(key *ecdsa.PrivateKey, id, tokenID string) string {
		_, err := verifier.Verify(t.Context(), signed(t, jose.ES256, key, id, map[string]any{"jti": tokenID}), "catalog")
		return reasonFor(err)
	}
	hash := hashOfToken("bad")
	for _, step := range []TrustStep{
		{Snapshot: true, Keys: map[string]string{"1": jwk(key, "1")}, MoreFollows: true},
		{Revocations: []TrustRevocation{{Hash: hash[:]}}, Version: "1"},
	} {
		if err := apply(step); err != nil {
			t.Fatal(err)
		}
	}
	if good, bad, unknown := verify(key, "1", "good"), verify(key, "1", "bad"), verify(later, "2", "x"); good != "" || bad != ReasonTokenRevoked || unknown != ReasonKeyUnknown {
		t.Fatal(good, bad, unknown)
	}
	if err := apply(TrustStep{Version: "2", Keys: map[string]string{"2": jwk(later, "2"), "1": ""}}); err != nil {
		t.Fatal(err)
	}
	if distrusted, fresh := verify(key, "1", "good"), verify(later, "2", "x"); distrusted != ReasonKeyUnknown || fresh != "" {
		t.Fatal(distrusted, fresh)
	}
	if err := apply(TrustStep{Version: "3", Revocations: []TrustRevocation{{Hash: []byte("short")}}}); err == nil {
		t.Fatal("a revocation that is not understood must end the stream")
	}
}

func TestSettingsThatWouldNotWorkAreErrors(t *testing.T) {
	keys := must(ParseKeySet([]byte(`{"keys":[]}`)))(t)
	one := TrustedIssuer{Issuer: "https://a.example", Keys: keys}
	for name, config := range map[string]Config{
		"no issuer":   {},
		"no name":     {Issuers: []TrustedIssuer{{Keys: keys}}},
		"twice":       {Issuers: []TrustedIssuer{one, one}},
		"leeway":      {Issuers: []TrustedIssuer{one}, Leeway: time.Hour},
		"plaintext":   {Issuers: []TrustedIssuer{{Issuer: "http://a.example"}}},
		"no URL":      {Issuers: []TrustedIssuer{{Issuer: "a"}}},
		"query":       {Issuers: []TrustedIssuer{{Issuer: "https://a.example?b"}}},
		"pattern":     {Issuers: []TrustedIssuer{{Issuer: "https://a.example", Clients: []string{"a*b"}}}},
		"algorithm":   {Issuers: []TrustedIssuer{{Issuer: "https://a.example", Algorithms: []Algorithm{"HS256"}}}},
		"impatient":   {Issuers: []TrustedIssuer{{Issuer: "https://a.example", Cooldown: time.Millisecond}}},
		"plain keys":  {Issuers: []TrustedIssuer{{Issuer: "a", JWKSURL: "http://a.example"}}},
		"short maxag": {Issuers: []TrustedIssuer{{Issuer: "https://a.example", MaxAge: time.Millisecond}}},
	} {
		if verifier, err := New(config); err == nil {
			verifier.Close()
			t.Error(name)
		}
	}
}

func TestNamedCallersNeedToBeToldApart(t *testing.T) {
	key := ecKey(t, elliptic.P256())
	keys := must(ParseKeySet(jwksOf(t, jose.JSONWebKey{Key: &key.PublicKey, KeyID: "1"})))(t)
	method := policy.Method{Path: "/a.B/C", Audience: "catalog", Access: policy.Token, Requirement: policy.Requirement{Callers: []string{"ord*"}}}
	for name, one := range map[string]struct {
		first, second TrustedIssuer
		reason        string
	}{
		"alone":              {TrustedIssuer{}, TrustedIssuer{Audiences: []string{"other"}}, ""},
		"both may":           {TrustedIssuer{}, TrustedIssuer{}, ReasonCallerNotAllowed},
		"declared":           {TrustedIssuer{Clients: []string{"*"}}, TrustedIssuer{}, ""},
		"the other declared": {TrustedIssuer{}, TrustedIssuer{Clients: []string{"*"}}, ReasonCallerNotAllowed},
	} {
		one.first.Issuer, one.first.Keys, one.first.Audiences = "https://a.example", keys, append(one.first.Audiences, "catalog")
		one.second.Issuer, one.second.Keys = "https://b.example", keys
		guard := &Guard{verifier: verifierOf(t, one.first, one.second), settings: GuardConfig{}}
		decision := guard.DecideMethod(t.Context(), method, []string{"Bearer " + signed(t, jose.ES256, key, "1", nil)})
		if reason := ""; decision.Refusal != nil {
			reason = decision.Refusal.Reason()
			if reason != one.reason {
				t.Error(name, reason)
			}
		} else if one.reason != "" {
			t.Error(name, "allowed")
		}
	}
}

func TestBearerReadsOneToken(t *testing.T) {
	for _, one := range []struct {
		values        []string
		token, reason string
	}{
		{nil, "", ReasonCredentialsMissing}, {[]string{""}, "", ReasonCredentialsMissing}, {[]string{"Basic x"}, "", ReasonCredentialsMissing},
		{[]string{"Bearerx"}, "", ReasonCredentialsMissing}, {[]string{"Bearer\tx"}, "", ReasonCredentialsMissing},
		{[]string{"Bearer"}, "", ReasonTokenInvalid}, {[]string{"Bearer  "}, "", ReasonTokenInvalid},
		{[]string{"Bearer x", "Bearer x"}, "", ReasonTokenInvalid}, {[]string{"bEARER   x"}, "x", ""}, {[]string{"Bearer x y"}, "x y", ""},
	} {
		if token, err := Bearer(one.values); token != one.token || reasonFor(err) != one.reason {
			t.Errorf("%q: %q %v", one.values, token, err)
		}
	}
}

func TestTheCacheIsBounded(t *testing.T) {
	cache := newCache(cacheShards * 10_000)
	for i := range 10_000 {
		cache.put(&seen{text: fmt.Sprintf("%043d", i)})
	}
	count := 0
	for i := range cache.shards {
		shard := &cache.shards[i]
		if shard.bytes > 10_000 || shard.recent.Len() != len(shard.byText) {
			t.Fatal(shard.bytes, shard.recent.Len(), len(shard.byText))
		}
		count += len(shard.byText)
	}
	if count == 0 || count > cacheShards*10 {
		t.Fatal(count)
	}
	if newCache(-1).put(&seen{text: "x"}); newCache(-1).get("x") != nil {
		t.Fatal("it holds nothing")
	}
}

func TestATokenWithoutTheDemandedClaimIsRefused(t *testing.T) {
	requirement := policy.Requirement{Claims: []policy.Claim{{Name: "tenant", Values: []string{"acme"}}}}
	if err := meets(&Token{claims: map[string]any{"tenant": "acme"}}, requirement, time.Now(), 0); err != nil {
		t.Error(err)
	}
	var refusal *Refusal
	err := meets(&Token{claims: map[string]any{"tenant": "initech"}}, requirement, time.Now(), 0)
	if !errors.As(err, &refusal) || refusal.Reason() != ReasonCallerNotAllowed || strings.Contains(err.Error(), "initech") {
		t.Error(err)
	}
}
