package example.m2m.client;

import example.m2m.status.Answer;
import example.m2m.token.v1.ErrorReason;

/** A refusal by the issuer (RFC 6749 section 5.2, RFC 8707 section 2), which lasts until an operator acts. */
public enum Refusal {
  /** {@code invalid_client}: the issuer does not know this client by these credentials. */
  CLIENT_AUTHENTICATION(
      ErrorReason.ERROR_REASON_CLIENT_AUTHENTICATION_FAILED,
      "the issuer refused this client's credentials (invalid_client)"),
  /** {@code unauthorized_client}: the client may not use this grant. */
  CLIENT_NOT_AUTHORIZED(
      ErrorReason.ERROR_REASON_CLIENT_NOT_AUTHORIZED,
      "the issuer does not let this client use this grant (unauthorized_client)"),
  /** {@code invalid_scope}: the client is not registered for one of the scopes. */
  SCOPE(
      ErrorReason.ERROR_REASON_SCOPE_INSUFFICIENT,
      "the issuer does not grant this client the scopes that the method demands (invalid_scope)"),
  /** {@code invalid_target}: the client is not registered for the audience. */
  TARGET(
      ErrorReason.ERROR_REASON_CLIENT_NOT_AUTHORIZED,
      "the issuer does not grant this client the audience that the method demands (invalid_target)"),
  /** {@code invalid_grant}: the subject token or the assertion is invalid. */
  GRANT(
      ErrorReason.ERROR_REASON_INVALID_GRANT, "the issuer refused the token to be exchanged (invalid_grant)"),
  /** The configured token is not a valid token. */
  TOKEN(
      ErrorReason.ERROR_REASON_CLIENT_AUTHENTICATION_FAILED,
      "the token that was provided for this program cannot be used"),
  /** Every other refusal: the issuer does not understand the request. */
  REQUEST(
      ErrorReason.ERROR_REASON_PRECONDITION_FAILED,
      "the issuer does not understand this client's request for a token; its answer is in the log");

  private final ErrorReason reason;
  private final String sentence;

  Refusal(ErrorReason reason, String sentence) {
    this.reason = reason;
    this.sentence = sentence;
  }

  /** Returns the refusal of an OAuth error code. */
  public static Refusal of(String code) {
    return switch (code) {
      case "invalid_client" -> CLIENT_AUTHENTICATION;
      case "unauthorized_client", "access_denied" -> CLIENT_NOT_AUTHORIZED;
      case "invalid_scope" -> SCOPE;
      case "invalid_target" -> TARGET;
      case "invalid_grant" -> GRANT;
      default -> REQUEST;
    };
  }

  Answer answer(TokenRequest request) {
    Answer answer = Answer.of(reason, sentence);
    request.audience().ifPresent(audience -> answer.detail("audience", audience));
    if (!request.scopes().isEmpty()) {
      answer.detail("scope", request.scopeParameter());
    }
    return answer.about(request.toString());
  }
}
