package example.m2m.internal;

import java.time.Instant;
import java.time.ZonedDateTime;
import java.time.format.DateTimeFormatter;
import java.time.format.DateTimeParseException;
import java.util.Map;
import java.util.Optional;

/**
 * An answer over HTTP.
 *
 * @param status the status
 * @param headers the fields that are read, by their name in small letters: {@code date}, {@code retry-after}
 * @param body the body
 */
public record HttpAnswer(int status, Map<String, String> headers, byte[] body) {
  /** Returns a field. */
  public Optional<String> header(String name) {
    return Optional.ofNullable(headers.get(name));
  }

  /** Returns a field that is a date (RFC 9110 section 5.6.7). */
  public Optional<Instant> date(String name) {
    try {
      return header(name).map(text -> ZonedDateTime.parse(text, DateTimeFormatter.RFC_1123_DATE_TIME).toInstant());
    } catch (DateTimeParseException unreadable) {
      return Optional.empty();
    }
  }

  /** Tells the status: a body may hold a token. */
  @Override
  public String toString() {
    return "HttpAnswer[" + status + "]";
  }
}
