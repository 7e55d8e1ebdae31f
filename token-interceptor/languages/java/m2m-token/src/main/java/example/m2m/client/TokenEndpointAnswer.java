package example.m2m.client;

import example.m2m.internal.HttpAnswer;
import example.m2m.internal.Json;
import example.m2m.internal.JsonException;
import java.math.BigDecimal;
import java.math.RoundingMode;
import java.time.Duration;
import java.time.Instant;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.regex.Pattern;

/**
 * The answer of a token endpoint: RFC 6749 sections 5.1 and 5.2. It is read strictly about the token, and
 * leniently about advisory members.
 */
final class TokenEndpointAnswer {
  private static final int OK = 200;
  private static final int DESCRIPTION_CHARS_MAX = 200;
  private static final Pattern NUMBER = Pattern.compile("\\+?[0-9]+(\\.[0-9]*)?([eE][+-]?[0-9]{1,4})?");
  private static final Pattern SECONDS = Pattern.compile("[0-9]{1,18}");
  private static final BigDecimal SECONDS_MAX = BigDecimal.valueOf(Long.MAX_VALUE);
  /** RFC 6749 sections 4.1.2.1 and 5.2, RFC 8693 section 2.2.2, RFC 8707 section 2. */
  private static final Set<String> OAUTH =
      Set.of(
          "invalid_request",
          "invalid_client",
          "invalid_grant",
          "unauthorized_client",
          "unsupported_grant_type",
          "invalid_scope",
          "invalid_target",
          "access_denied",
          "temporarily_unavailable",
          "server_error",
          "slow_down");
  private static final Set<String> OVERLOAD = Set.of("temporarily_unavailable", "server_error", "slow_down");
  /** Statuses that say that there is no token endpoint here: NOT FOUND, METHOD NOT ALLOWED, GONE. */
  private static final Set<Integer> GONE = Set.of(404, 405, 410);
  /** Statuses that are no refusal, although they begin with 4: REQUEST TIMEOUT, TOO MANY REQUESTS. */
  private static final Set<Integer> BUSY = Set.of(408, 429);

  private String accessToken;
  private String tokenType;
  private Optional<Duration> expiresIn = Optional.empty();
  private Optional<Duration> refreshIn = Optional.empty();

  private TokenEndpointAnswer() {}

  /**
   * Reads the answer.
   *
   * @throws SourceException when it is a refusal, or no token
   */
  static IssuedToken read(HttpAnswer answer, Instant now) throws SourceException {
    if (answer.status() == OK) {
      return token(answer.body());
    }
    throw failure(answer).withRetryAfter(retryAfter(answer, now));
  }

  private static IssuedToken token(byte[] body) throws SourceException {
    var members = new TokenEndpointAnswer();
    try {
      Json.members(body, members::take);
    } catch (JsonException malformed) {
      throw unavailable("the token endpoint's answer is not a JSON object with one token");
    }
    if (members.accessToken == null || !"bearer".equalsIgnoreCase(members.tokenType)) {
      throw unavailable("the token endpoint's answer has no bearer token");
    }
    AccessToken token =
        AccessToken.of(members.accessToken)
            .orElseThrow(() -> unavailable("the token endpoint's access_token is malformed"));
    return new IssuedToken(
        token, members.expiresIn.orElse(IssuedToken.LIFETIME_DEFAULT), members.refreshIn);
  }

  private void take(String name, String json) throws JsonException {
    switch (name) {
      case "access_token" -> accessToken = once(accessToken, json);
      case "token_type" -> tokenType = once(tokenType, json);
      case "expires_in" -> expiresIn = shorter(expiresIn, json);
      case "refresh_in" -> refreshIn = shorter(refreshIn, json);
      default -> {
        // RFC 6749 section 5.1: the client ignores it.
      }
    }
  }

  /** Rejects a second token, as the two would be ambiguous. */
  private static String once(String before, String json) throws JsonException {
    if (before != null) {
      throw new JsonException("a member occurs twice");
    }
    return Json.text(json);
  }

  private static Optional<Duration> shorter(Optional<Duration> before, String json) {
    Optional<Duration> seconds = seconds(json);
    boolean longer =
        before.isPresent() && (seconds.isEmpty() || seconds.get().compareTo(before.get()) > 0);
    return longer ? before : seconds;
  }

  /**
   * Reads a number of seconds in any form that servers send: {@code 3600}, {@code 3600.0}, {@code "3600"}.
   */
  private static Optional<Duration> seconds(String json) {
    boolean quoted = json.length() > 1 && json.startsWith("\"") && json.endsWith("\"");
    String text = (quoted ? json.substring(1, json.length() - 1) : json).strip();
    if (!NUMBER.matcher(text).matches()) {
      return Optional.empty();
    }
    BigDecimal seconds = new BigDecimal(text);
    boolean huge = seconds.precision() - seconds.scale() > 19 || seconds.compareTo(SECONDS_MAX) > 0;
    long whole = huge ? Long.MAX_VALUE : seconds.setScale(0, RoundingMode.DOWN).longValue();
    return Optional.of(Duration.ofSeconds(whole));
  }

  /** Overload is no refusal, even if the body says so. Nor is a missing endpoint without an OAuth error. */
  private static SourceException failure(HttpAnswer answer) {
    int status = answer.status();
    SourceException outage = unavailable("the token endpoint answered " + status);
    if (status < 400 || status >= 500 || BUSY.contains(status)) {
      return outage;
    }
    Map<String, Object> members = members(answer);
    if (!(members.get("error") instanceof String code)
        || OVERLOAD.contains(code)
        || GONE.contains(status) && !OAUTH.contains(code)) {
      return outage;
    }
    Object description = members.getOrDefault("error_description", "");
    return SourceException.refused(
        Refusal.of(code), printable(code) + ": " + (description instanceof String text ? printable(text) : ""));
  }

  /**
   * Returns true if the answer must be a token endpoint's. Any other may come from another program, at a URL
   * that the token endpoint has left.
   */
  static boolean isOfTokenEndpoint(HttpAnswer answer) {
    if (answer.status() == OK) {
      return true;
    }
    return !GONE.contains(answer.status())
        && members(answer).get("error") instanceof String code
        && OAUTH.contains(code);
  }

  private static Map<String, Object> members(HttpAnswer answer) {
    try {
      return Json.object(answer.body());
    } catch (JsonException none) {
      return Map.of();
    }
  }

  /**
   * Keeps the characters that RFC 6749 section 5.2 allows in an error, so that the text cannot forge log
   * lines.
   */
  private static String printable(String text) {
    var kept = new StringBuilder();
    text.chars()
        .filter(c -> c >= ' ' && c <= '~' && c != '"' && c != '\\')
        .limit(DESCRIPTION_CHARS_MAX)
        .forEach(c -> kept.append((char) c));
    return kept.toString();
  }

  /** RFC 9110 section 10.2.3: seconds, or a date by the server's own clock. */
  private static Optional<Duration> retryAfter(HttpAnswer answer, Instant now) {
    String text = answer.header("retry-after").map(String::strip).orElse("");
    if (SECONDS.matcher(text).matches()) {
      return Optional.of(Duration.ofSeconds(Long.parseLong(text)));
    }
    Instant from = answer.date("date").orElse(now);
    return answer.date("retry-after").map(until -> Duration.between(from, until)).filter(pause -> !pause.isNegative());
  }

  private static SourceException unavailable(String message) {
    return SourceException.unavailable(message, Cause.ANSWER);
  }
}
