package verify

import (
	"crypto/sha256"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// targetHash is the first 16 bytes of a SHA-256 hash. The list travels to verifiers, so it names neither
// tokens nor clients.
type targetHash [16]byte

func hashOfToken(tokenID string) targetHash   { return hashOf("revoked token", tokenID) }
func hashOfClient(clientID string) targetHash { return hashOf("revoked client", clientID) }

func hashOf(kind, name string) targetHash {
	sum := sha256.Sum256([]byte(kind + "\x00" + name))
	return targetHash(sum[:16])
}

// Revocations is a set of revoked tokens: single ones by `jti`, or every token of a client that was issued
// before a time. A revocation counts from the next call on. It is safe for concurrent use.
type Revocations struct {
	version atomic.Uint64
	mutex   sync.RWMutex
	entries map[targetHash]revokedEntry
}

type revokedEntry struct{ issuedBefore, forget uint64 }

// NewRevocations returns an empty set.
func NewRevocations() *Revocations { return &Revocations{entries: map[targetHash]revokedEntry{}} }

// RevokeToken revokes the token with this `jti`. forgetAt is the time at which it has expired.
func (r *Revocations) RevokeToken(tokenID string, forgetAt time.Time) {
	r.add(hashOfToken(tokenID), math.MaxUint64, numericDateAfter(forgetAt))
}

// RevokeClient revokes every token of this client with an `iat` before issuedBefore. forgetAt is the time at
// which the last of them has expired.
func (r *Revocations) RevokeClient(clientID string, issuedBefore, forgetAt time.Time) {
	r.add(hashOfClient(clientID), numericDateAfter(issuedBefore), numericDateAfter(forgetAt))
}

// add adds an entry. The later times of two entries hold, so nothing that is revoked becomes valid by it.
func (r *Revocations) add(target targetHash, issuedBefore, forget uint64) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	before, known := r.entries[target]
	after := revokedEntry{max(before.issuedBefore, issuedBefore), max(before.forget, forget)}
	if known && after == before {
		return
	}
	r.entries[target] = after
	r.version.Add(1)
}

// Forget drops the entries that no token needs any more at now.
func (r *Revocations) Forget(now time.Time) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	for target, entry := range r.entries {
		if entry.forget <= numericDate(now) {
			delete(r.entries, target)
		}
	}
}

func (r *Revocations) revokes(token *Token) bool {
	r.mutex.RLock()
	defer r.mutex.RUnlock()
	if len(r.entries) == 0 {
		return false
	}
	revoked := func(tokenID, clientID string, issued uint64) bool {
		return issued < r.entries[hashOfToken(tokenID)].issuedBefore ||
			issued < r.entries[hashOfClient(clientID)].issuedBefore
	}
	if revoked(token.tokenID, token.clientID, token.issued) {
		return true
	}
	for _, ancestor := range token.ancestors {
		if revoked(ancestor.tokenID, ancestor.clientID, ancestor.issued) {
			return true
		}
	}
	return false
}

// numericDate returns a time in whole seconds since 1970 (RFC 7519 section 2); 0 for an earlier one.
func numericDate(at time.Time) uint64 { return uint64(max(at.Unix(), 0)) }

// numericDateAfter rounds up: a token of the second in which its client was revoked is revoked.
func numericDateAfter(at time.Time) uint64 {
	seconds := numericDate(at)
	if at.Nanosecond() > 0 {
		seconds++
	}
	return seconds
}
