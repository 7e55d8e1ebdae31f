package verify

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"fmt"
	"math/big"
	"slices"

	"github.com/go-jose/go-jose/v4"

	"m2m.example/go/internal/strict"
)

// Algorithm is a signature algorithm by its JOSE name: RFC 7518 section 3.1 and RFC 8037 section 3.1.
type Algorithm string

// The supported algorithms. There is no HMAC and no "none".
const (
	ES256 Algorithm = "ES256"
	ES384 Algorithm = "ES384"
	ES512 Algorithm = "ES512"
	EdDSA Algorithm = "EdDSA"
	RS256 Algorithm = "RS256"
	PS256 Algorithm = "PS256"
)

// Algorithms returns every supported algorithm, the preferred one first.
func Algorithms() []Algorithm { return append(DefaultAlgorithms(), ES512) }

// DefaultAlgorithms returns the algorithms that an issuer of this project signs with, the preferred one first.
func DefaultAlgorithms() []Algorithm { return []Algorithm{ES256, EdDSA, ES384, PS256, RS256} }

// algorithmOf returns the algorithm of a JOSE name. Ed25519 is RFC 9864's name for RFC 8037's EdDSA.
func algorithmOf(name string) (Algorithm, bool) {
	if name == "Ed25519" {
		return EdDSA, true
	}
	return Algorithm(name), slices.Contains(Algorithms(), Algorithm(name))
}

// The bounds of RSA keys, in bits. Shorter moduli are weak; longer ones make each check expensive.
const (
	modulusBitsMin  = 2041 // of 256 octets
	modulusBitsMax  = 8192
	exponentBitsMax = 31
)

// key is a public key with its one algorithm, so that a token's header chooses nothing (RFC 8725 section
// 3.1).
type key struct {
	id        string
	hasID     bool
	algorithm Algorithm
	public    crypto.PublicKey
}

func (k *key) equal(other *key) bool {
	public, ok := k.public.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.id == other.id && k.hasID == other.hasID && k.algorithm == other.algorithm && public.Equal(other.public)
}

// verifies returns true if this key signed the token. go-jose checks the signature.
func (k *key) verifies(token *unverified) bool {
	if k.algorithm == EdDSA {
		// go-jose does not know the algorithm by its newer name.
		public, ok := k.public.(ed25519.PublicKey)
		return ok && ed25519.Verify(public, []byte(token.signed), token.signature)
	}
	parsed, err := jose.ParseSignedCompact(token.text, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(k.algorithm)})
	if err != nil {
		return false
	}
	_, err = parsed.Verify(k.public)
	return err == nil
}

// keyOf reads a public JWK (RFC 7517 section 4). Without `alg`, the curve decides; an RSA key without it is
// taken for RS256, which RFC 9068 section 2.1 requires.
func keyOf(text []byte) (*key, error) {
	members, err := strict.Object(text)
	if err != nil {
		return nil, err
	}
	jwk := jwk(members)
	// RFC 7518 sections 6.2.2, 6.3.2 and 6.4.
	for _, name := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"} {
		if _, private := members[name]; private {
			return nil, errors.New("it has a private member")
		}
	}
	if use, there := members["use"]; there && use != "sig" {
		return nil, errors.New("its use is not sig")
	}
	if operations, there := members["key_ops"]; there {
		list, _ := operations.([]any)
		if !slices.Contains(list, any("verify")) {
			return nil, errors.New("its key_ops do not allow verify")
		}
	}
	found := &key{}
	if found.id, found.hasID, err = jwk.text("kid"); err != nil {
		return nil, err
	}
	name, named, err := jwk.text("alg")
	if err != nil {
		return nil, err
	}
	declared, supported := algorithmOf(name)
	if named && !supported {
		return nil, errors.New("its alg is not supported")
	}
	kty, _, err := jwk.text("kty")
	if err != nil {
		return nil, err
	}
	switch kty {
	case "EC":
		found.algorithm, found.public, err = jwk.ec()
	case "OKP":
		found.algorithm, found.public, err = jwk.okp()
	case "RSA":
		found.algorithm, found.public, err = jwk.rsa(declared)
	default:
		err = errors.New("its kty is not EC, OKP or RSA")
	}
	if err == nil && named && declared != found.algorithm {
		err = errors.New("its alg does not belong to its kty")
	}
	if err != nil {
		return nil, err
	}
	return found, nil
}

type jwk map[string]any

func (j jwk) text(name string) (string, bool, error) {
	value, there := j[name]
	if !there {
		return "", false, nil
	}
	text, ok := value.(string)
	if !ok {
		return "", false, errors.New("a member has the wrong type")
	}
	return text, true, nil
}

func (j jwk) bytes(name string) ([]byte, error) {
	text, there, err := j.text(name)
	if err != nil {
		return nil, err
	}
	if !there {
		return nil, errors.New("a key parameter is missing")
	}
	decoded, err := strict.Base64(text)
	if err != nil {
		return nil, errors.New("a key parameter is not base64url")
	}
	return decoded, nil
}

func (j jwk) ec() (Algorithm, crypto.PublicKey, error) {
	algorithm, curve := ES256, elliptic.P256()
	switch j["crv"] {
	case "P-256":
	case "P-384":
		algorithm, curve = ES384, elliptic.P384()
	case "P-521":
		algorithm, curve = ES512, elliptic.P521()
	default:
		return "", nil, errors.New("its crv is not supported")
	}
	x, err := j.bytes("x")
	if err != nil {
		return "", nil, err
	}
	y, err := j.bytes("y")
	if err != nil {
		return "", nil, err
	}
	// RFC 7518 section 6.2.1.2: full length, leading zeros kept.
	if length := (curve.Params().BitSize + 7) / 8; len(x) != length || len(y) != length {
		return "", nil, errors.New("a coordinate does not have the curve's length")
	}
	public, err := ecdsa.ParseUncompressedPublicKey(curve, slices.Concat([]byte{4}, x, y))
	if err != nil {
		return "", nil, errors.New("its coordinates are not a point on the curve")
	}
	return algorithm, public, nil
}

func (j jwk) okp() (Algorithm, crypto.PublicKey, error) {
	if j["crv"] != "Ed25519" {
		return "", nil, errors.New("its crv is not supported")
	}
	x, err := j.bytes("x")
	if err != nil {
		return "", nil, err
	}
	if len(x) != ed25519.PublicKeySize {
		return "", nil, errors.New("a coordinate does not have the curve's length")
	}
	return EdDSA, ed25519.PublicKey(x), nil
}

func (j jwk) rsa(declared Algorithm) (Algorithm, crypto.PublicKey, error) {
	algorithm := RS256
	if declared == PS256 {
		algorithm = PS256
	}
	n, err := j.bytes("n")
	if err != nil {
		return "", nil, err
	}
	e, err := j.bytes("e")
	if err != nil {
		return "", nil, err
	}
	modulus, exponent := new(big.Int).SetBytes(n), new(big.Int).SetBytes(e)
	switch bits := modulus.BitLen(); {
	case bits < modulusBitsMin:
		return "", nil, errors.New("its modulus has less than 2048 bits")
	case bits > modulusBitsMax:
		return "", nil, fmt.Errorf("its modulus has more than %d bits", modulusBitsMax)
	case modulus.Bit(0) == 0 || exponent.Bit(0) == 0 || exponent.Cmp(big.NewInt(1)) == 0 || exponent.BitLen() > exponentBitsMax:
		return "", nil, errors.New("its modulus or its exponent is not one of an RSA key")
	}
	return algorithm, &rsa.PublicKey{N: modulus, E: int(exponent.Int64())}, nil
}
