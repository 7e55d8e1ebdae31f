package verify

import (
	"strconv"
	"time"
)

// keyWait is a wait for a key.
type keyWait struct {
	issuer *issuer
	news   uint64
}

// attempt makes every check, from top to bottom. Before the signature is checked, a token's content only
// selects the issuer and the key. It returns nothing but a wait if the key is being fetched.
func (v *Verifier) attempt(text, audience string, now time.Time) (*seen, keyWait, error) {
	var wait keyWait
	if len(text) > v.tokenBytesMax {
		return nil, wait, tooLarge.about("token", strconv.Itoa(len(text))+" bytes", "at most "+strconv.Itoa(v.tokenBytesMax))
	}
	presented, err := parse(text)
	if err != nil {
		return nil, wait, err
	}
	id, err := claimText(presented.claims, "iss")
	if err != nil {
		return nil, wait, err
	}
	issuer := v.find(id)
	if issuer == nil {
		return nil, wait, issuerUnknown.about("iss", quoted(id), "a trusted issuer")
	}
	if err := issuer.checkHeader(presented); err != nil {
		return nil, wait, err
	}
	if err := issuer.checkFresh(now); err != nil {
		return nil, wait, err
	}
	found := &seen{text: text, issuer: issuer}
	// Read before the keys and the revocations, so that a later change is noticed next time.
	wait = keyWait{issuer, issuer.keys.news()}
	set, version := issuer.keys.current()
	found.keyVersion.Store(version)
	found.revocationVersion.Store(issuer.revocationVersion())
	if found.key, err = signedBy(issuer, set, presented, now); err != nil || found.key == nil {
		return nil, wait, err
	}
	if err := issuer.checkType(presented); err != nil {
		return nil, wait, err
	}
	if found.token, err = tokenOf(presented.claims); err != nil {
		return nil, wait, err
	}
	for _, check := range []func() error{
		func() error { return issuer.limit(found.token) },
		func() error { return issuer.checkAudience(found.token, audience) },
		func() error { return v.checkTimes(found.token, now) },
		func() error { return issuer.checkRevoked(found.token) },
	} {
		if err := check(); err != nil {
			return nil, wait, err
		}
	}
	return found, wait, nil
}

// signedBy returns the issuer's key that signed the token. It returns nil if the key is being fetched.
func signedBy(issuer *issuer, set *KeySet, token *unverified, now time.Time) (*key, error) {
	var candidates []*key
	var other bool
	if set != nil {
		candidates, other = set.find(token.keyID, token.hasKeyID, token.algorithm)
	}
	if other {
		return nil, algorithmNotAllowed.about("alg", quoted(string(token.algorithm)), "the algorithm of the key that kid names")
	}
	for _, candidate := range candidates {
		if candidate.verifies(token) {
			return candidate, nil
		}
	}
	if len(candidates) > 0 && token.hasKeyID {
		return nil, refuse(signatureInvalid)
	}
	// Without `kid`, only the signature tells a key that is not cached yet from a forgery.
	switch verdict := issuer.keys.unknown(now); {
	case verdict.wait:
		return nil, nil
	case verdict.retryAfter > 0:
		return nil, &Refusal{check: keyUnavailable, retryAfter: verdict.retryAfter}
	case len(candidates) > 0:
		return nil, refuse(signatureInvalid)
	default:
		return nil, keyUnknown.about("kid", quoted(token.keyID), "a key that the issuer publishes")
	}
}
