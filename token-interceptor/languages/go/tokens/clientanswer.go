package tokens

import (
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"m2m.example/go/internal/refresh"
	"m2m.example/go/source"
	"m2m.example/go/verify"
)

// retrySoon is the retry delay for a failure that names none.
const retrySoon = 100 * time.Millisecond

// The reasons of answers by the client layer: m2m/token/v1/error_reason.proto.
const (
	reasonIssuerUnavailable          = "ISSUER_UNAVAILABLE"
	reasonClientAuthenticationFailed = "CLIENT_AUTHENTICATION_FAILED"
	reasonClientNotAuthorized        = "CLIENT_NOT_AUTHORIZED"
	reasonInvalidGrant               = "INVALID_GRANT"
	reasonPreconditionFailed         = "PRECONDITION_FAILED"
)

// own returns an answer of the client layer to its own program.
func own(code codes.Code, reason, sentence string, metadata map[string]string, retryIn time.Duration) error {
	details := []protoadapt.MessageV1{&errdetails.ErrorInfo{Reason: reason, Domain: verify.Domain, Metadata: metadata}}
	if retryIn > 0 {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(retryIn)})
	}
	return withDetails(status.New(code, sentence), details...).Err()
}

// noToken is the answer to a call that gets no token. An outage of the issuer reads UNAVAILABLE, a
// configuration fault its own code. Neither passes for the callee's answer.
func noToken(failure *refresh.Failure) error {
	request, metadata := failure.Request, map[string]string{}
	if request.Audience != "" {
		metadata["audience"] = request.Audience
	}
	if len(request.Scopes) > 0 {
		metadata["scope"] = strings.Join(request.Scopes, " ")
	}
	code, reason, sentence, retryIn := codes.Unavailable, reasonIssuerUnavailable, "", time.Duration(0)
	switch failure.Source.Refusal {
	case source.NotRefused:
		sentence = source.SentenceOf(failure.Source.Cause)
		metadata["cause"] = failure.Source.Cause
		retryIn = max(failure.RetryIn, time.Millisecond)
	case source.RefusedClientAuthentication:
		code, reason = codes.Unauthenticated, reasonClientAuthenticationFailed
		sentence = "the issuer refused this client's credentials (invalid_client)"
	case source.RefusedClient:
		code, reason = codes.PermissionDenied, reasonClientNotAuthorized
		sentence = "the issuer does not let this client use this grant (unauthorized_client)"
	case source.RefusedScope:
		code, reason = codes.PermissionDenied, verify.ReasonScopeInsufficient
		sentence = "the issuer does not grant this client the scopes that the method demands (invalid_scope)"
	case source.RefusedTarget:
		code, reason = codes.PermissionDenied, reasonClientNotAuthorized
		sentence = "the issuer does not grant this client the audience that the method demands (invalid_target)"
	case source.RefusedGrant:
		code, reason = codes.InvalidArgument, reasonInvalidGrant
		sentence = "the issuer refused the token to be exchanged (invalid_grant)"
	case source.RefusedToken:
		code, reason = codes.Unauthenticated, reasonClientAuthenticationFailed
		sentence = "the token that was provided for this program cannot be used"
	default:
		code, reason = codes.FailedPrecondition, reasonPreconditionFailed
		sentence = "the issuer does not understand this client's request for a token; its answer is in the log"
	}
	return own(code, reason, sentence+": "+request.String(), metadata, retryIn)
}

func tooSlow() error {
	return own(codes.Unavailable, reasonIssuerUnavailable, "the issuer of access tokens did not answer in time", nil, retrySoon)
}

// deadlineExceeded is the only answer without a reason, as the program chose the deadline.
func deadlineExceeded() error {
	return status.Error(codes.DeadlineExceeded, "the deadline passed while the access token was being obtained")
}

func noCaller() error {
	return own(codes.FailedPrecondition, reasonPreconditionFailed,
		"this client calls on behalf of a caller, and the context has none: see tokens.OnBehalfOfCaller", nil, 0)
}

func plaintextRefused() error {
	return own(codes.FailedPrecondition, reasonPreconditionFailed,
		"no token is sent in plaintext to another machine: use TLS, or see tokens.AllowPlaintext", nil, 0)
}

func authorizationRefused() error {
	return own(codes.FailedPrecondition, reasonPreconditionFailed,
		"the call brings an authorization of its own: remove it, or see tokens.KeepAuthorization", nil, 0)
}
