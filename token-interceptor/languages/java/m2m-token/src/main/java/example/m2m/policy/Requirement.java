package example.m2m.policy;

import java.time.Duration;
import java.util.List;
import java.util.Optional;

/**
 * The demand on a verified token. An empty requirement demands a valid token and nothing more.
 *
 * @param allScopes the scopes that must all have been granted
 * @param anyScopes the scopes of which one must have been granted; empty for none
 * @param callers the client IDs that may call, or prefixes and a final {@code *}; empty for any client
 * @param maxTokenAge the age above which a token is rejected
 * @param outlivesToken true if a stream is authorized only when it begins
 * @param claims further claims of the token, each of which must have an allowed value
 */
public record Requirement(
    List<String> allScopes,
    List<String> anyScopes,
    List<String> callers,
    Optional<Duration> maxTokenAge,
    boolean outlivesToken,
    List<ClaimRequirement> claims) {
  /** Copies the lists. */
  public Requirement {
    allScopes = List.copyOf(allScopes);
    anyScopes = List.copyOf(anyScopes);
    callers = List.copyOf(callers);
    claims = List.copyOf(claims);
  }

  /** Returns a requirement that any valid token for the audience meets. */
  static Requirement anyToken() {
    return allScopes(new String[0]);
  }

  /** Returns a requirement of these scopes, all of them. */
  public static Requirement allScopes(String... scopes) {
    return new Requirement(List.of(scopes), List.of(), List.of(), Optional.empty(), false, List.of());
  }

  /** Returns true if {@code pattern} is {@code name}, or a prefix of it and a final {@code *}. */
  public static boolean matches(String pattern, String name) {
    return pattern.endsWith("*")
        ? name.startsWith(pattern.substring(0, pattern.length() - 1))
        : pattern.equals(name);
  }
}
