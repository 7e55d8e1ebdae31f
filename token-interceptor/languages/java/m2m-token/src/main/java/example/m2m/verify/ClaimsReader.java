package example.m2m.verify;

import example.m2m.verify.VerifiedToken.Claims;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;

/**
 * Claims and their types: RFC 9068 section 2.2, RFC 7519 section 4.1, RFC 8693 section 4.1.
 *
 * <p>Times are whole, non-negative numbers, as two parsers may round a fraction differently.
 */
final class ClaimsReader {
  /** The last second of the year 9999. Later times overflow in arithmetic. */
  private static final long NUMERIC_DATE_MAX = 253_402_300_799L;

  private final Map<String, Object> members;

  ClaimsReader(Map<String, Object> members) {
    this.members = members;
  }

  /** Checks every claim that has a meaning here. */
  Claims read(String issuer, boolean clientIdIsUnique) throws VerifyException {
    String subject = text(members, "sub");
    String clientId = text(members, "client_id");
    String tokenId = text(members, "jti");
    List<String> audiences = audiences();
    Object scope = members.getOrDefault("scope", "");
    if (!(scope instanceof String)) {
      throw malformed("scope is not a string");
    }
    // RFC 8705 section 3, RFC 9449 section 7.1. Accepting it as a bearer token would defeat the binding.
    if (members.containsKey("cnf")) {
      throw new VerifyException(Fault.SENDER_CONSTRAINED, "the token is bound to a key");
    }
    long expiresAt = time("exp").orElseThrow(() -> malformed("it has no exp"));
    long issuedAt = time("iat").orElseThrow(() -> malformed("it has no iat"));
    OptionalLong notBefore = time("nbf");
    return new Claims(
        issuer,
        subject,
        clientId,
        tokenId,
        audiences,
        scopes((String) scope),
        expiresAt,
        issuedAt,
        notBefore,
        actors(),
        clientIdIsUnique,
        members);
  }

  /** Returns a required claim, as text that is not empty. */
  static String text(Map<String, Object> members, String name) throws VerifyException {
    if (members.get(name) instanceof String text && !text.isEmpty()) {
      return text;
    }
    throw malformed(name + " is missing or is not text");
  }

  private List<String> audiences() throws VerifyException {
    Object audience = members.get("aud");
    if (audience instanceof String one && !one.isEmpty()) {
      return List.of(one);
    }
    if (audience instanceof List<?> several && !several.isEmpty()) {
      var audiences = new ArrayList<String>();
      for (Object one : several) {
        if (!(one instanceof String text)) {
          throw malformed("aud is neither a string nor strings");
        }
        audiences.add(text);
      }
      return List.copyOf(audiences);
    }
    throw malformed("aud is neither a string nor strings");
  }

  private static List<String> scopes(String scope) {
    var scopes = new ArrayList<String>();
    for (String one : scope.split(" ")) {
      if (!one.isEmpty()) {
        scopes.add(one);
      }
    }
    return List.copyOf(scopes);
  }

  private OptionalLong time(String name) throws VerifyException {
    Object value = members.get(name);
    if (value == null) {
      return OptionalLong.empty();
    }
    if (value instanceof Long seconds && seconds >= 0 && seconds <= NUMERIC_DATE_MAX) {
      return OptionalLong.of(seconds);
    }
    throw malformed(name + " is not a whole number of seconds");
  }

  /** Returns the actors, the current one first. The depth is bounded by that of the JSON. */
  private List<Actor> actors() throws VerifyException {
    var actors = new ArrayList<Actor>();
    Object act = members.get("act");
    while (act != null) {
      if (!(act instanceof Map<?, ?> actor)) {
        throw malformed("act is not an object");
      }
      if (!(actor.get("sub") instanceof String subject) || subject.isEmpty()) {
        throw malformed("sub is missing in act, or is not text");
      }
      actors.add(new Actor(subject, optional(actor, "client_id"), optional(actor, "iss")));
      act = actor.get("act");
    }
    return List.copyOf(actors);
  }

  private static Optional<String> optional(Map<?, ?> actor, String name) throws VerifyException {
    Object value = actor.get(name);
    if (value == null) {
      return Optional.empty();
    }
    if (value instanceof String text) {
      return Optional.of(text);
    }
    throw malformed(name + " in act is not text");
  }

  private static VerifyException malformed(String fault) {
    return new VerifyException(Fault.MALFORMED, fault);
  }
}
