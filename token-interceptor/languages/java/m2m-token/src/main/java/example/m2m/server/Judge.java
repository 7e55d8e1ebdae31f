package example.m2m.server;

import example.m2m.policy.MethodPolicy;
import example.m2m.policy.Policy;
import example.m2m.policy.Requirement;
import example.m2m.verify.VerifiedToken;
import example.m2m.verify.Verifier;
import example.m2m.verify.VerifyException;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;

/** The decision on a call: each step in order. It performs no I/O and never waits. */
final class Judge {
  private final Verifier verifier;
  private final Policy policy;

  Judge(Verifier verifier, Policy policy) {
    this.verifier = verifier;
    this.policy = policy;
  }

  Verifier verifier() {
    return verifier;
  }

  /**
   * The outcome of a decision.
   *
   * @param caller the caller, where the token is valid
   * @param method the policy of an admitted call
   * @param denied the refusal
   * @param news completes when the key that the token needs may have arrived
   */
  record Outcome(
      Optional<Caller> caller,
      Optional<MethodPolicy> method,
      Optional<Denied> denied,
      Optional<CompletableFuture<Void>> news) {

    private static Outcome denied(Denied denied, Optional<Caller> caller) {
      return new Outcome(caller, Optional.empty(), Optional.of(denied), Optional.empty());
    }
  }

  /** Decides on a call of {@code path} with these values of {@code authorization}. */
  Outcome decide(String path, List<String> authorization) {
    Optional<MethodPolicy> method = policy.method(path);
    if (method.isEmpty()) {
      return Outcome.denied(Denied.methodNotDeclared(), Optional.empty());
    }
    MethodPolicy.Access access = method.get().access();
    boolean anonymous = access == MethodPolicy.Access.IDENTIFY && authorization.isEmpty();
    if (access == MethodPolicy.Access.PUBLIC || anonymous) {
      return new Outcome(Optional.empty(), method, Optional.empty(), Optional.empty());
    }
    String token;
    try {
      token = Bearer.of(authorization);
    } catch (Denied denied) {
      return Outcome.denied(denied, Optional.empty());
    }
    Verifier.Verdict verdict = verifier.attempt(token, method.get().audience());
    if (verdict.token().isEmpty()) {
      return new Outcome(
          Optional.empty(), method, verdict.refusal().map(Denied::of), verdict.news());
    }
    var caller = Optional.of(new Caller(verdict.token().get(), token));
    try {
      check(method.get().requirement().orElseThrow(Denied::methodNotDeclared), verdict.token().get());
      return new Outcome(caller, method, Optional.empty(), Optional.empty());
    } catch (Denied denied) {
      return Outcome.denied(denied, caller);
    }
  }

  /** Returns the outcome for a call whose key did not arrive in time. */
  Outcome keyIsLate() {
    return Outcome.denied(Denied.of(Verifier.keyIsLate()), Optional.empty());
  }

  private void check(Requirement demand, VerifiedToken token) throws Denied {
    var missing = new ArrayList<>(demand.allScopes());
    missing.removeAll(token.scopes());
    boolean oneOfAny =
        demand.anyScopes().isEmpty() || demand.anyScopes().stream().anyMatch(token.scopes()::contains);
    if (!oneOfAny) {
      missing.addAll(demand.anyScopes());
    }
    if (!missing.isEmpty()) {
      throw Denied.scopeInsufficient(missing);
    }
    boolean named =
        demand.callers().stream().anyMatch(pattern -> Requirement.matches(pattern, token.clientId()));
    if (!demand.callers().isEmpty() && !(named && token.clientIdIsUnique())) {
      throw Denied.callerNotAllowed();
    }
    for (var claim : demand.claims()) {
      if (!claim.allows(token.claims())) {
        throw Denied.claimNotAllowed(claim);
      }
    }
    if (isTooOld(demand, token, verifier.now())) {
      throw Denied.tokenTooOld();
    }
  }

  /** In whole seconds: a token is too old from one second past the limit. */
  private boolean isTooOld(Requirement demand, VerifiedToken token, Instant now) {
    return demand.maxTokenAge()
        .map(age -> now.getEpochSecond() > lastSecond(token, age))
        .orElse(false);
  }

  private long lastSecond(VerifiedToken token, Duration age) {
    return token.issuedAt().getEpochSecond() + age.toSeconds() + verifier.leeway().toSeconds();
  }

  /**
   * Checks the token of a call that goes on.
   *
   * @return the time at which it ends at the latest
   * @throws Denied when the call has to end
   */
  Instant checkAgain(MethodPolicy method, Caller caller) throws Denied {
    try {
      verifier.checkAgain(caller.bearer(), method.audience());
    } catch (VerifyException refused) {
      throw Denied.of(refused);
    }
    Requirement demand = method.requirement().orElseThrow(Denied::methodNotDeclared);
    if (isTooOld(demand, caller.token(), verifier.now())) {
      throw Denied.tokenTooOld();
    }
    Instant expiry = caller.expiresAt().plus(verifier.leeway());
    Instant ageing =
        demand.maxTokenAge()
            .map(age -> Instant.ofEpochSecond(lastSecond(caller.token(), age) + 1))
            .orElse(expiry);
    return ageing.isBefore(expiry) ? ageing : expiry;
  }
}
