package verify

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"m2m.example/go/internal/strict"
)

// candidatesMax is the number of keys that are tried for one token, where several match its key ID and
// algorithm (RFC 7517 section 4.5). Each costs one signature check, which an attacker can cause.
const candidatesMax = 4

// reasonsMax is the number of unusable keys whose reasons the log names.
const reasonsMax = 4

// KeySet is an immutable set of public keys, each bound to one algorithm.
type KeySet struct {
	byID      map[string][]*key
	anonymous []*key // found only by tokens without `kid`
	all       []*key
	skipped   int
	reasons   []string
	content   [sha256.Size]byte // tells if a fetched set differs
}

// ParseKeySet reads a JWK Set (RFC 7517 section 5). It skips every key that is not a public signing key of a
// known algorithm. It fails if the document is not a JSON object with an array `keys`.
func ParseKeySet(document []byte) (*KeySet, error) {
	var keys [][]byte
	found := 0
	err := strict.Members(document, func(name string, raw []byte, value any) error {
		if name != "keys" {
			return nil
		}
		found++
		if _, list := value.([]any); !list {
			return errors.New("keys is not an array")
		}
		var err error
		keys, err = strict.Items(raw)
		return err
	})
	if err == nil && found != 1 {
		err = errors.New("it has not one member keys")
	}
	if err != nil {
		return nil, fmt.Errorf("not a JWK Set (RFC 7517 section 5): %w", err)
	}
	return keySetOf(keys), nil
}

// keySetOf reads public JWKs, each in its JSON. Unusable ones are skipped.
func keySetOf(jwks [][]byte) *KeySet {
	set := &KeySet{byID: map[string][]*key{}}
	jwks = slices.Clone(jwks)
	slices.SortFunc(jwks, bytes.Compare)
	digest := sha256.New()
	for _, jwk := range jwks {
		_ = binary.Write(digest, binary.BigEndian, uint64(len(jwk)))
		_, _ = digest.Write(jwk)
		found, err := keyOf(jwk)
		if err != nil {
			set.skipped++
			if len(set.reasons) < reasonsMax && !slices.Contains(set.reasons, err.Error()) {
				set.reasons = append(set.reasons, err.Error())
			}
			continue
		}
		set.all = append(set.all, found)
		if found.hasID {
			set.byID[found.id] = append(set.byID[found.id], found)
		} else {
			set.anonymous = append(set.anonymous, found)
		}
	}
	digest.Sum(set.content[:0])
	return set
}

// Len returns the number of usable keys.
func (s *KeySet) Len() int { return len(s.all) }

// Skipped returns the number of unusable keys in the document.
func (s *KeySet) Skipped() int { return s.skipped }

// usable returns an error if the set lists keys and none is usable. An empty set is accepted: it says that no
// token is valid.
func (s *KeySet) usable() error {
	if s.Len() == 0 && s.skipped > 0 {
		return fmt.Errorf("the key set has no usable key among %d: %s", s.skipped, strings.Join(s.reasons, "; "))
	}
	return nil
}

// find returns the keys that may have signed a token: those of its `kid` and algorithm, or without `kid`,
// those of its algorithm. other is true if the key exists, for another algorithm.
func (s *KeySet) find(id string, hasID bool, algorithm Algorithm) (candidates []*key, other bool) {
	among := s.all
	if hasID {
		among = s.byID[id]
	}
	for _, candidate := range among {
		if candidate.algorithm == algorithm && len(candidates) < candidatesMax {
			candidates = append(candidates, candidate)
		}
	}
	return candidates, hasID && len(among) > 0 && len(candidates) == 0
}

func (s *KeySet) holds(wanted *key) bool {
	among := s.anonymous
	if wanted.hasID {
		among = s.byID[wanted.id]
	}
	return slices.ContainsFunc(among, wanted.equal)
}
