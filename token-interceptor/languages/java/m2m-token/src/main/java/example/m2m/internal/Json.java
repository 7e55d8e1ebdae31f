package example.m2m.internal;

import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Strict JSON for tokens and key sets: no repeated member (RFC 7515 section 4), bounded depth, no trailing
 * text.
 *
 * <p>Where two parsers disagree on which of two equal members counts, a token says one thing to a gateway and
 * another to the service behind it.
 *
 * <p>Values are {@link String}, {@link Boolean}, {@link #NULL}, {@link Long} or {@link java.math.BigInteger}
 * for whole numbers, {@link Double} for others, {@link List} and {@link Map}.
 */
public final class Json {
  /** The value {@code null}. */
  public static final Object NULL =
      new Object() {
        @Override
        public String toString() {
          return "null";
        }
      };

  /** The nesting depth of objects and arrays, at most. */
  private static final int DEPTH_MAX = 8;

  private final JsonScanner scanner;

  private Json(JsonScanner scanner) {
    this.scanner = scanner;
  }

  /**
   * Reads {@code json} as one object, strictly.
   *
   * @throws JsonException when it is no JSON object, repeats a member, or nests deeper than eight levels
   */
  public static Map<String, Object> object(byte[] json) throws JsonException {
    var reader = new Json(JsonScanner.of(json));
    if (reader.scanner.peek() != '{') {
      throw new JsonException("not a JSON object");
    }
    Map<String, Object> members = reader.members(DEPTH_MAX - 1);
    reader.scanner.end();
    return members;
  }

  /**
   * Reads {@code json} as one object of which only some members matter: the others may have any form and
   * depth, and may repeat.
   *
   * @param visitor takes the name of a member and its JSON text
   * @throws JsonException when it is no JSON object
   */
  public static void members(byte[] json, MemberVisitor visitor) throws JsonException {
    var scanner = JsonScanner.of(json);
    scanner.expect('{');
    if (!scanner.next('}')) {
      do {
        scanner.peek();
        String name = scanner.string();
        scanner.expect(':');
        visitor.visit(name, scanner.skip());
      } while (scanner.next(','));
      scanner.expect('}');
    }
    scanner.end();
  }

  /**
   * Reads {@code json} as one array, and returns the JSON text of each item.
   *
   * @throws JsonException when it is no JSON array
   */
  public static List<String> items(byte[] json) throws JsonException {
    var scanner = JsonScanner.of(json);
    var items = new ArrayList<String>();
    scanner.expect('[');
    if (!scanner.next(']')) {
      do {
        items.add(scanner.skip());
      } while (scanner.next(','));
      scanner.expect(']');
    }
    scanner.end();
    return items;
  }

  /**
   * Reads {@code json} as one string.
   *
   * @throws JsonException when it is no JSON string
   */
  public static String text(String json) throws JsonException {
    var scanner = JsonScanner.of(json.getBytes(java.nio.charset.StandardCharsets.UTF_8));
    String text = scanner.string();
    scanner.end();
    return text;
  }

  /** A consumer of members. */
  @FunctionalInterface
  public interface MemberVisitor {
    /**
     * Takes one member.
     *
     * @throws JsonException when the member does not have the expected form
     */
    void visit(String name, String json) throws JsonException;
  }

  private Object value(int depthLeft) throws JsonException {
    char first = scanner.peek();
    if (first != '{' && first != '[') {
      return scanner.scalar();
    }
    if (depthLeft == 0) {
      throw new JsonException("nested too deeply");
    }
    return first == '{' ? members(depthLeft - 1) : items(depthLeft - 1);
  }

  private Map<String, Object> members(int depthLeft) throws JsonException {
    var members = new LinkedHashMap<String, Object>();
    scanner.expect('{');
    if (!scanner.next('}')) {
      do {
        scanner.peek();
        String name = scanner.string();
        scanner.expect(':');
        if (members.put(name, value(depthLeft)) != null) {
          throw new JsonException("a member occurs twice");
        }
      } while (scanner.next(','));
      scanner.expect('}');
    }
    return Collections.unmodifiableMap(members);
  }

  private List<Object> items(int depthLeft) throws JsonException {
    var items = new ArrayList<>();
    scanner.expect('[');
    if (!scanner.next(']')) {
      do {
        items.add(value(depthLeft));
      } while (scanner.next(','));
      scanner.expect(']');
    }
    return Collections.unmodifiableList(items);
  }
}
