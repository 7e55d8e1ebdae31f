package example.m2m.client;

import example.m2m.status.Answer;
import example.m2m.token.v1.ErrorReason;
import io.grpc.Metadata;
import io.grpc.Status;
import java.time.Duration;

/** The status of a call that cannot get a token. It does not pass for the callee's answer. */
final class NoToken extends Exception {
  private static final long serialVersionUID = 1;
  /** The retry delay for a failure that names none. */
  private static final Duration RETRY_SOON = Duration.ofMillis(100);

  private final transient Status status;
  private final transient Metadata trailers;

  private NoToken(Status status, Metadata trailers) {
    super(status.getDescription(), null, false, false);
    this.status = status;
    this.trailers = trailers;
  }

  private static NoToken of(Answer answer) {
    return new NoToken(answer.status(), answer.trailers());
  }

  /** An outage of the issuer reads UNAVAILABLE, a configuration fault its own code. */
  static NoToken failed(SourceException failure, TokenRequest request, Duration retryIn) {
    return of(
        failure.refusal()
            .map(refusal -> refusal.answer(request))
            .orElseGet(
                () -> {
                  Answer answer = unavailable(failure.outage().sentence(), retryIn);
                  answer.detail("cause", failure.outage().text());
                  request.audience().ifPresent(audience -> answer.detail("audience", audience));
                  if (!request.scopes().isEmpty()) {
                    answer.detail("scope", request.scopeParameter());
                  }
                  return answer.about(request.toString());
                }));
  }

  /** The source took longer than a call may wait. */
  static NoToken tooSlow() {
    return of(unavailable("the issuer of access tokens did not answer in time", RETRY_SOON));
  }

  /** The call's own deadline passed. The only status without a reason, as the caller chose the deadline. */
  static NoToken deadlineExceeded() {
    return new NoToken(
        Status.DEADLINE_EXCEEDED.withDescription(
            "the deadline passed while the access token was being obtained"),
        new Metadata());
  }

  /** The layer calls on behalf of callers, and there is no caller. */
  static NoToken noCaller() {
    return precondition("this channel calls on behalf of a caller, and there is none: see onBehalfOfCaller");
  }

  /** The connection is plaintext to another machine. */
  static NoToken plaintextRefused() {
    return precondition("no token is sent in plaintext to another machine: use TLS");
  }

  /** The call passes on an authorization that may belong to another party. */
  static NoToken authorizationRefused() {
    return precondition("the call brings an authorization of its own: remove it");
  }

  private static NoToken precondition(String sentence) {
    return of(Answer.of(ErrorReason.ERROR_REASON_PRECONDITION_FAILED, sentence));
  }

  private static Answer unavailable(String sentence, Duration retryIn) {
    Duration least = Duration.ofMillis(1);
    return Answer.of(ErrorReason.ERROR_REASON_ISSUER_UNAVAILABLE, sentence)
        .retryAfter(retryIn.compareTo(least) < 0 ? least : retryIn);
  }

  Status status() {
    return status;
  }

  Metadata trailers() {
    return trailers;
  }
}
