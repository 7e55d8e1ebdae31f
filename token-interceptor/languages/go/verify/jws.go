package verify

import (
	"strings"

	"m2m.example/go/internal/strict"
)

// unverified is a decoded compact JWS (RFC 7515 section 7.1). Nothing in it is trusted.
type unverified struct {
	text      string
	algorithm Algorithm
	keyID     string
	hasKeyID  bool
	typ       string
	hasType   bool
	signed    string // header and claims as they were sent
	claims    map[string]any
	signature []byte
	// foreignKey is the header parameter that brings a key or its URL. Such a key is never used.
	foreignKey string
}

// parse rejects everything but three parts of strict base64url, with strict JSON objects as header and
// claims, a supported `alg`, and no extension.
func parse(token string) (*unverified, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 || parts[0] == "" || parts[1] == "" || parts[2] == "" {
		return nil, malformed.about("token", "another form", "three parts")
	}
	header, err := object(parts[0], "header")
	if err != nil {
		return nil, err
	}
	// RFC 7515 section 4.1.11, RFC 7797: no extension is supported.
	for _, name := range []string{"crit", "b64"} {
		if _, there := header[name]; there {
			return nil, headerNotAllowed.about(name, "a value", "no such header parameter")
		}
	}
	found := &unverified{text: token, signed: token[:len(parts[0])+1+len(parts[1])]}
	name, named, err := headerText(header, "alg")
	if err != nil {
		return nil, err
	}
	if !named {
		return nil, malformed.about("alg", "nothing", "a string")
	}
	var supported bool
	if found.algorithm, supported = algorithmOf(name); !supported {
		return nil, algorithmNotAllowed.about("alg", quoted(name), "a supported asymmetric algorithm")
	}
	if found.keyID, found.hasKeyID, err = headerText(header, "kid"); err != nil {
		return nil, err
	}
	if found.typ, found.hasType, err = headerText(header, "typ"); err != nil {
		return nil, err
	}
	for _, name := range []string{"jwk", "jku", "x5c", "x5u"} {
		if _, there := header[name]; there && found.foreignKey == "" {
			found.foreignKey = name
		}
	}
	if found.claims, err = object(parts[1], "claims"); err != nil {
		return nil, err
	}
	if found.signature, err = strict.Base64(parts[2]); err != nil {
		return nil, malformed.about("signature", "another text", "base64url")
	}
	return found, nil
}

func object(part, name string) (map[string]any, error) {
	decoded, err := strict.Base64(part)
	if err != nil {
		return nil, malformed.about(name, "another text", "base64url")
	}
	members, err := strict.Object(decoded)
	if err != nil {
		return nil, malformed.about(name, "another text", "a strict JSON object")
	}
	return members, nil
}

func headerText(header map[string]any, name string) (string, bool, error) {
	value, there := header[name]
	if !there {
		return "", false, nil
	}
	text, ok := value.(string)
	if !ok {
		return "", false, malformed.about(name, strict.Kind(value), "a string")
	}
	return text, true, nil
}
