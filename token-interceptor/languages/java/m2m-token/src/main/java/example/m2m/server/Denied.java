package example.m2m.server;

import example.m2m.policy.ClaimRequirement;
import example.m2m.status.Answer;
import example.m2m.token.v1.ErrorReason;
import example.m2m.verify.VerifyException;
import java.util.List;

/** A refusal: the answer for the caller, and a detail for the log. */
final class Denied extends Exception {
  private static final long serialVersionUID = 1;

  private final transient Answer answer;

  private Denied(Answer answer, String detail) {
    super(detail, null, false, false);
    this.answer = answer;
  }

  static Denied methodNotDeclared() {
    return new Denied(
        Answer.of(
            ErrorReason.ERROR_REASON_METHOD_NOT_DECLARED,
            "the method declares no policy, so every call is denied"),
        "the method declares no policy");
  }

  static Denied credentialsMissing() {
    return new Denied(
        Answer.of(ErrorReason.ERROR_REASON_CREDENTIALS_MISSING, "a bearer token is required"),
        "there is no bearer token");
  }

  static Denied credentialsMalformed(String fault) {
    return new Denied(
        Answer.of(ErrorReason.ERROR_REASON_TOKEN_INVALID, "the authorization is not one bearer token"), fault);
  }

  static Denied scopeInsufficient(List<String> missing) {
    String scope = String.join(" ", missing);
    return new Denied(
        Answer.of(
                ErrorReason.ERROR_REASON_SCOPE_INSUFFICIENT,
                "the token lacks a scope that the method demands")
            .detail("scope", scope),
        "the token lacks " + scope);
  }

  static Denied callerNotAllowed() {
    return new Denied(
        Answer.of(ErrorReason.ERROR_REASON_CALLER_NOT_ALLOWED, "the client may not call this method"),
        "the client is not among the callers");
  }

  static Denied claimNotAllowed(ClaimRequirement required) {
    return new Denied(
        Answer.of(
            ErrorReason.ERROR_REASON_CALLER_NOT_ALLOWED, "the token lacks a claim that the method demands"),
        required.claim() + " is none of " + required.values());
  }

  static Denied tokenTooOld() {
    return new Denied(
        Answer.of(ErrorReason.ERROR_REASON_TOKEN_TOO_OLD, "the token was issued too long ago for this method"),
        "the token is too old");
  }

  static Denied of(VerifyException refused) {
    Answer answer = Answer.of(refused.fault().reason(), refused.fault().sentence());
    refused.retryAfter().ifPresent(answer::retryAfter);
    return new Denied(answer, refused.fault() + ": " + refused.getMessage());
  }

  Answer answer() {
    return answer;
  }
}
