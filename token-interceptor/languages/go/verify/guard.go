package verify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"m2m.example/go/policy"
)

// refusalLinesMax is the number of log lines per second about refused calls, as attackers can cause them.
const refusalLinesMax = 10

// Guard decides calls: the policy of the method, the bearer token, its verification, and the requirement. It
// is safe for concurrent use.
type Guard struct {
	verifier *Verifier
	table    *policy.Table
	settings GuardConfig

	lines  sync.Mutex
	second int64
	logged int
}

// GuardConfig holds the settings of a Guard.
type GuardConfig struct {
	// Observe is true to decide and record, and let every call pass.
	Observe bool
	// Record gets every decision, for metrics and audit records. It must not block.
	Record func(Record)
}

// Record is the record of one decision.
type Record struct {
	// Path is the called method.
	Path string
	// Caller is the caller, if the token is valid. It may be set beside Refusal: the method demands more.
	Caller *Caller
	// Refusal is nil for an allowed call.
	Refusal *Refusal
	// Observed is true if the refused call passed all the same.
	Observed bool
}

// NewGuard combines a verifier and a policy. It fails if a method names callers that cannot be told apart:
// see TrustedIssuer.Clients.
func NewGuard(verifier *Verifier, table *policy.Table, config GuardConfig) (*Guard, error) {
	if err := table.CheckCallers(verifier.ClientIDsAreUnique); err != nil {
		return nil, err
	}
	return &Guard{verifier: verifier, table: table, settings: config}, nil
}

// Decision is the decision on a call.
type Decision struct {
	// Caller is nil for a public method, for an anonymous call, and for a refused one.
	Caller *Caller
	// Refusal is nil for a call that may pass.
	Refusal *Refusal
	// EndsWithToken is true for a stream that has to end with its token: see Caller.Ended. It is false while
	// observing.
	EndsWithToken bool
}

// Decide decides a call to the method at path, with these values of its authorization field. It waits briefly
// for a key that is being fetched.
func (g *Guard) Decide(ctx context.Context, path string, authorization []string) Decision {
	method, declared := g.table.Lookup(path)
	if !declared {
		return g.recorded(path, nil, NotDeclared(), false)
	}
	return g.DecideMethod(ctx, method, authorization)
}

// DecideMethod decides a call as Decide, by a policy that is not in the table: for HTTP routes, which no
// .proto declares.
func (g *Guard) DecideMethod(ctx context.Context, method policy.Method, authorization []string) Decision {
	switch method.Access {
	case policy.Public:
		return Decision{}
	case policy.Identify:
		if len(authorization) == 0 {
			return Decision{}
		}
	case policy.Token:
	default:
		return g.recorded(method.Path, nil, NotDeclared(), false)
	}
	caller, err := g.authorize(ctx, method, authorization)
	var refusal *Refusal
	if err != nil && !errors.As(err, &refusal) {
		refusal = &Refusal{check: keyUnavailable, retryAfter: keyOnItsWay}
	}
	return g.recorded(method.Path, caller, refusal, !method.Unary() && !method.Requirement.StreamOutlivesToken)
}

func (g *Guard) authorize(ctx context.Context, method policy.Method, authorization []string) (*Caller, error) {
	token, err := Bearer(authorization)
	if err != nil {
		return nil, err
	}
	now := g.verifier.now()
	found, err := g.verifier.verify(ctx, token, method.Audience, now)
	if err != nil {
		return nil, err
	}
	caller := &Caller{Token: found.token, seen: found, verifier: g.verifier, method: method, checkedAt: now}
	return caller, meets(found.token, method.Requirement, now, g.verifier.leeway)
}

// meets returns an error unless the token meets the requirement.
func meets(token *Token, requirement policy.Requirement, now time.Time, leeway time.Duration) error {
	if missing := requirement.Missing(token.HasScope); len(missing) > 0 {
		return &Refusal{check: scopeInsufficient, missing: missing}
	}
	if len(requirement.Callers) > 0 && (!token.clientIDIsUnique || !among(requirement.Callers, token.clientID)) {
		return refuse(callerNotAllowed)
	}
	for _, claim := range requirement.Claims {
		if !claim.Allows(token.claims) {
			return claimNotAllowed.about(claim.Name, "no such value", fmt.Sprintf("one of %q", claim.Values))
		}
	}
	if requirement.HasMaxTokenAge && numericDate(now) > latest(token, requirement, leeway) {
		return refuse(tokenTooOld)
	}
	return nil
}

// latest returns the last second at which the token is young enough.
func latest(token *Token, requirement policy.Requirement, leeway time.Duration) uint64 {
	return token.issued + uint64(requirement.MaxTokenAge/time.Second) + uint64(leeway/time.Second)
}

func (g *Guard) recorded(path string, caller *Caller, refusal *Refusal, ends bool) Decision {
	observed := refusal != nil && g.settings.Observe
	if refusal != nil {
		g.log(path, caller, refusal, observed)
	}
	if g.settings.Record != nil {
		g.settings.Record(Record{path, caller, refusal, observed})
	}
	switch {
	case refusal == nil:
		return Decision{Caller: caller, EndsWithToken: ends && !g.settings.Observe}
	case observed:
		// The handler may know the caller, although the method demands more.
		return Decision{Caller: caller}
	default:
		return Decision{Refusal: refusal}
	}
}

// RecordEnd logs and records that a call in progress was ended by its token. The layers call it.
func (g *Guard) RecordEnd(caller *Caller, refusal *Refusal) {
	g.recorded(caller.method.Path, caller, refusal, false)
}

func (g *Guard) log(path string, caller *Caller, refusal *Refusal, observed bool) {
	level := slog.LevelInfo
	g.lines.Lock()
	if second := time.Now().Unix(); second != g.second {
		g.second, g.logged = second, 0
	}
	if g.logged++; g.logged > refusalLinesMax {
		level = slog.LevelDebug
	}
	g.lines.Unlock()
	attributes := []any{"check", refusal.Check(), "detail", refusal.Error(), "observed", observed}
	if caller != nil {
		attributes = append(attributes, "method", path, "client_id", caller.ClientID(), "jti", caller.TokenID())
	}
	g.verifier.log.Log(context.Background(), level, "a call is refused", attributes...)
}
