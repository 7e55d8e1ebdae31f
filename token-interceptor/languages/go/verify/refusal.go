package verify

import (
	"fmt"
	"strings"
	"time"
)

// Domain is the domain of google.rpc.ErrorInfo in every refusal.
const Domain = "m2m.token.v1"

// The stable reasons of refusals: m2m/token/v1/error_reason.proto.
const (
	ReasonCredentialsMissing = "CREDENTIALS_MISSING"
	ReasonTokenInvalid       = "TOKEN_INVALID"
	ReasonTokenExpired       = "TOKEN_EXPIRED"
	ReasonTokenRevoked       = "TOKEN_REVOKED"
	ReasonKeyUnknown         = "TOKEN_KEY_UNKNOWN"
	ReasonAudienceMismatch   = "TOKEN_AUDIENCE_MISMATCH"
	ReasonScopeInsufficient  = "SCOPE_INSUFFICIENT"
	ReasonCallerNotAllowed   = "CALLER_NOT_ALLOWED"
	ReasonTokenTooOld        = "TOKEN_TOO_OLD"
	ReasonMethodNotDeclared  = "METHOD_NOT_DECLARED"
	ReasonTrustUnavailable   = "TRUST_UNAVAILABLE"
)

// Refusal is the error of a rejected call. Its text names the failed check and is for the log. The caller
// sees Reason, Sentence and Challenge alone. Neither ever holds a token.
type Refusal struct {
	check      *check
	detail     string
	missing    []string
	retryAfter time.Duration
}

// check is one entry of the closed list of failures.
type check struct {
	reason   string
	label    string
	sentence string
	log      string
}

const invalid = "the token is not valid"

// The closed list, in the order of the request path. Of an invalid token the caller learns only that: more
// would tell a forger how far the forgery came.
var (
	methodNotDeclared = &check{ReasonMethodNotDeclared, "method_not_declared",
		"the method declares no policy, so every call is denied", "the method declares no policy"}
	credentialsMissing = &check{ReasonCredentialsMissing, "credentials_missing",
		"a bearer token is required", "no bearer token was presented"}
	credentialsMalformed = &check{ReasonTokenInvalid, "credentials_malformed",
		"the authorization is not one bearer token", "the authorization is malformed"}
	tooLarge            = &check{ReasonTokenInvalid, "too_large", invalid, "the token is too large"}
	malformed           = &check{ReasonTokenInvalid, "malformed", invalid, "the token is malformed"}
	algorithmNotAllowed = &check{ReasonTokenInvalid, "algorithm", invalid, "the token's algorithm is not allowed"}
	headerNotAllowed    = &check{ReasonTokenInvalid, "header", invalid, "a header parameter is not accepted"}
	issuerUnknown       = &check{ReasonTokenInvalid, "issuer", invalid, "the token's issuer is not trusted"}
	keyUnknown          = &check{ReasonKeyUnknown, "key_unknown",
		"the token is signed by a key that its issuer does not publish", "the issuer does not publish the token's key"}
	keyUnavailable = &check{ReasonTrustUnavailable, "key_unavailable",
		"the token cannot be verified at the moment; try again", "the issuer's key set is unreachable"}
	signatureInvalid = &check{ReasonTokenInvalid, "signature", invalid, "the signature is not valid"}
	typeNotAllowed   = &check{ReasonTokenInvalid, "type", invalid, "the token's typ is not an access token's"}
	audienceMismatch = &check{ReasonAudienceMismatch, "audience",
		"the token was issued for another audience", "the token is for another audience"}
	expired           = &check{ReasonTokenExpired, "expired", "the token has expired", "the token has expired"}
	notYetValid       = &check{ReasonTokenInvalid, "not_yet_valid", invalid, "the token is not valid yet"}
	issuedInFuture    = &check{ReasonTokenInvalid, "issued_in_future", invalid, "the token was issued in the future"}
	senderConstrained = &check{ReasonTokenInvalid, "sender_constrained", invalid,
		"the token is bound to a key whose possession was not proved"}
	clientNotTrusted = &check{ReasonCallerNotAllowed, "client",
		"the client may not call this method", "the issuer is not trusted to speak for the token's client"}
	revoked           = &check{ReasonTokenRevoked, "revoked", "the token was revoked", "the token was revoked"}
	scopeInsufficient = &check{ReasonScopeInsufficient, "scope",
		"the token lacks a scope that the method demands", "a scope is missing"}
	callerNotAllowed = &check{ReasonCallerNotAllowed, "caller",
		"the client may not call this method", "the client is not among the method's callers"}
	claimNotAllowed = &check{ReasonCallerNotAllowed, "claim",
		"the token lacks a claim that the method demands", "a claim has no value that the method allows"}
	tokenTooOld = &check{ReasonTokenTooOld, "token_age", "the token was issued too long ago for this method",
		"the token was issued too long ago for this method"}
)

func refuse(check *check) *Refusal { return &Refusal{check: check} }

// about adds the compared member: its name, the value in the token or its type, and the accepted value.
func (c *check) about(name, came, expected string) *Refusal {
	return &Refusal{check: c, detail: name + ": " + came + ", expected " + expected}
}

// NotDeclared returns the refusal of a call to a method without a policy.
func NotDeclared() *Refusal { return refuse(methodNotDeclared) }

// Reason returns the stable reason, as in google.rpc.ErrorInfo.
func (r *Refusal) Reason() string { return r.check.reason }

// Check returns the name of the failed check, for metrics: one of a closed set. It is not for the caller.
func (r *Refusal) Check() string { return r.check.label }

// Sentence returns the fixed sentence for the caller.
func (r *Refusal) Sentence() string { return r.check.sentence }

// MissingScopes returns the scopes that the method demands and the token lacks.
func (r *Refusal) MissingScopes() []string { return r.missing }

// RetryAfter returns the time to wait before a retry. It is zero if a retry does not help.
func (r *Refusal) RetryAfter() time.Duration { return r.retryAfter }

// IsTransient returns true if the same token may be accepted later: the verifier could not reach a verdict.
func (r *Refusal) IsTransient() bool { return r.retryAfter > 0 }

// IsRenewable returns true if a new token for the same audience may help.
func (r *Refusal) IsRenewable() bool { return IsRenewable(r.Reason()) }

// IsRenewable returns true for the reasons that a new token for the same audience may cure.
func IsRenewable(reason string) bool {
	switch reason {
	case ReasonTokenInvalid, ReasonTokenExpired, ReasonTokenRevoked, ReasonKeyUnknown:
		return true
	default:
		return false
	}
}

// Error names the failed check, for the log.
func (r *Refusal) Error() string {
	text := r.check.log
	if len(r.missing) > 0 {
		text += ": " + strings.Join(r.missing, " ")
	}
	if r.detail != "" {
		text += " (" + r.detail + ")"
	}
	return text
}

// form is the form of a reason in each protocol.
type form struct {
	code       uint32 // of gRPC
	http       int
	oauthError string
}

func (r *Refusal) form() form {
	switch r.Reason() {
	case ReasonCredentialsMissing:
		return form{16, 401, "invalid_request"}
	case ReasonTokenInvalid, ReasonTokenExpired, ReasonTokenRevoked, ReasonKeyUnknown, ReasonAudienceMismatch:
		return form{16, 401, "invalid_token"}
	case ReasonScopeInsufficient:
		return form{7, 403, "insufficient_scope"}
	case ReasonTrustUnavailable:
		return form{14, 503, "temporarily_unavailable"}
	default:
		return form{7, 403, "access_denied"}
	}
}

// Code returns the number of the gRPC status code.
func (r *Refusal) Code() uint32 { return r.form().code }

// HTTPStatus returns the status for plain HTTP.
func (r *Refusal) HTTPStatus() int { return r.form().http }

// OAuthError returns the error of RFC 6750 section 3.1 or RFC 6749.
func (r *Refusal) OAuthError() string { return r.form().oauthError }

// Metadata returns the metadata of google.rpc.ErrorInfo.
func (r *Refusal) Metadata() map[string]string {
	if len(r.missing) == 0 {
		return nil
	}
	return map[string]string{"scope": strings.Join(r.missing, " ")}
}

// Challenge returns the value of www-authenticate (RFC 6750 section 3). It is empty where another token would
// not help.
func (r *Refusal) Challenge() string {
	switch {
	case r.Reason() == ReasonCredentialsMissing:
		return "Bearer"
	case r.OAuthError() == "invalid_token":
		return fmt.Sprintf(`Bearer error="invalid_token", error_description="%s"`, r.Sentence())
	case r.OAuthError() == "insufficient_scope":
		return fmt.Sprintf(`Bearer error="insufficient_scope", scope="%s"`, strings.Join(r.missing, " "))
	default:
		return ""
	}
}
