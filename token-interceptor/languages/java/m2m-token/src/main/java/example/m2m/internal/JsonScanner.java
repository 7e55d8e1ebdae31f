package example.m2m.internal;

import java.math.BigInteger;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.CodingErrorAction;
import java.nio.charset.StandardCharsets;

/** A reader of JSON by the letter of RFC 8259: no comment, no byte order mark, no loose number or string. */
final class JsonScanner {
  private static final BigInteger UNSIGNED_MAX = BigInteger.ONE.shiftLeft(64).subtract(BigInteger.ONE);

  private final String text;
  private int at;

  private JsonScanner(String text) {
    this.text = text;
  }

  /** Reads UTF-8, strictly. */
  static JsonScanner of(byte[] json) throws JsonException {
    try {
      var decoder =
          StandardCharsets.UTF_8
              .newDecoder()
              .onMalformedInput(CodingErrorAction.REPORT)
              .onUnmappableCharacter(CodingErrorAction.REPORT);
      return new JsonScanner(decoder.decode(ByteBuffer.wrap(json)).toString());
    } catch (CharacterCodingException malformed) {
      throw new JsonException("not UTF-8");
    }
  }

  /** Returns the next character after white space, and does not consume it. */
  char peek() throws JsonException {
    while (at < text.length() && " \t\n\r".indexOf(text.charAt(at)) >= 0) {
      at++;
    }
    if (at == text.length()) {
      throw new JsonException("it ends too early");
    }
    return text.charAt(at);
  }

  /** Consumes the next character after white space if it is {@code expected}. */
  boolean next(char expected) throws JsonException {
    boolean found = peek() == expected;
    at += found ? 1 : 0;
    return found;
  }

  void expect(char expected) throws JsonException {
    if (!next(expected)) {
      throw new JsonException("unexpected text");
    }
  }

  void end() throws JsonException {
    while (at < text.length() && " \t\n\r".indexOf(text.charAt(at)) >= 0) {
      at++;
    }
    if (at < text.length()) {
      throw new JsonException("trailing text");
    }
  }

  /** Reads a value that is no object and no array. */
  Object scalar() throws JsonException {
    return switch (peek()) {
      case '"' -> string();
      case 't' -> literal("true", Boolean.TRUE);
      case 'f' -> literal("false", Boolean.FALSE);
      case 'n' -> literal("null", Json.NULL);
      default -> number();
    };
  }

  private Object literal(String name, Object value) throws JsonException {
    if (!text.startsWith(name, at)) {
      throw new JsonException("unexpected text");
    }
    at += name.length();
    return value;
  }

  String string() throws JsonException {
    expect('"');
    var value = new StringBuilder();
    while (at < text.length()) {
      char c = text.charAt(at++);
      if (c == '"') {
        return checked(value);
      }
      if (c < ' ') {
        throw new JsonException("a control character in a string");
      }
      value.append(c == '\\' ? escaped() : c);
    }
    throw new JsonException("it ends too early");
  }

  private char escaped() throws JsonException {
    if (at == text.length()) {
      throw new JsonException("it ends too early");
    }
    char c = text.charAt(at++);
    return switch (c) {
      case '"', '\\', '/' -> c;
      case 'b' -> '\b';
      case 'f' -> '\f';
      case 'n' -> '\n';
      case 'r' -> '\r';
      case 't' -> '\t';
      case 'u' -> hexadecimal();
      default -> throw new JsonException("an unknown escape");
    };
  }

  private char hexadecimal() throws JsonException {
    int value = 0;
    for (int digit = 0; digit < 4; digit++) {
      int read = at < text.length() && text.charAt(at) < 128 ? Character.digit(text.charAt(at++), 16) : -1;
      if (read < 0) {
        throw new JsonException("an unknown escape");
      }
      value = value * 16 + read;
    }
    return (char) value;
  }

  /** A surrogate without its other half is no character. */
  private static String checked(CharSequence value) throws JsonException {
    for (int i = 0; i < value.length(); i++) {
      char c = value.charAt(i);
      if (Character.isHighSurrogate(c) && i + 1 < value.length() && Character.isLowSurrogate(value.charAt(i + 1))) {
        i++;
      } else if (Character.isSurrogate(c)) {
        throw new JsonException("half of a character");
      }
    }
    return value.toString();
  }

  private Object number() throws JsonException {
    int start = at;
    boolean negative = at < text.length() && text.charAt(at) == '-';
    at += negative ? 1 : 0;
    int first = at;
    int digits = digits();
    if (digits == 0 || (digits > 1 && text.charAt(first) == '0')) {
      throw new JsonException("unexpected text");
    }
    boolean whole = true;
    if (at < text.length() && text.charAt(at) == '.') {
      at++;
      whole = false;
      require(digits() > 0);
    }
    if (at < text.length() && (text.charAt(at) == 'e' || text.charAt(at) == 'E')) {
      at++;
      whole = false;
      if (at < text.length() && (text.charAt(at) == '+' || text.charAt(at) == '-')) {
        at++;
      }
      require(digits() > 0);
    }
    String number = text.substring(start, at);
    // A minus before a zero is no whole number.
    if (whole && digits <= 20 && !number.equals("-0")) {
      var value = new BigInteger(number);
      if (value.bitLength() < Long.SIZE) {
        return value.longValue();
      }
      if (value.signum() > 0 && value.compareTo(UNSIGNED_MAX) <= 0) {
        return value;
      }
    }
    double value = Double.parseDouble(number);
    require(!Double.isInfinite(value));
    return value;
  }

  private int digits() {
    int start = at;
    while (at < text.length() && text.charAt(at) >= '0' && text.charAt(at) <= '9') {
      at++;
    }
    return at - start;
  }

  private static void require(boolean holds) throws JsonException {
    if (!holds) {
      throw new JsonException("not a number");
    }
  }

  /** Skips one value of any form and depth, without recursion, and returns its text. */
  String skip() throws JsonException {
    peek();
    int start = at;
    var open = new StringBuilder();
    do {
      switch (peek()) {
        case '{' -> open(open, '{', '}');
        case '[' -> open(open, '[', ']');
        default -> {
          skipScalar();
          close(open);
        }
      }
    } while (open.length() > 0);
    return text.substring(start, at);
  }

  /** A number that no type can hold is skipped too. */
  private void skipScalar() throws JsonException {
    int start = at;
    try {
      scalar();
    } catch (JsonException unreadable) {
      if (at == start || text.charAt(start) == '"' || "tfn".indexOf(text.charAt(start)) >= 0
          || !text.substring(start, at).matches("-?(0|[1-9][0-9]*)(\\.[0-9]+)?([eE][+-]?[0-9]+)?")) {
        throw unreadable;
      }
    }
  }

  private void open(StringBuilder open, char opening, char closing) throws JsonException {
    expect(opening);
    open.append(closing);
    if (peek() == closing) {
      close(open);
    } else if (opening == '{') {
      string();
      expect(':');
    }
  }

  /** Closes what ends here, and goes on to the next member or item. */
  private void close(StringBuilder open) throws JsonException {
    while (open.length() > 0) {
      char closing = open.charAt(open.length() - 1);
      if (next(closing)) {
        open.setLength(open.length() - 1);
        continue;
      }
      expect(',');
      if (closing == '}') {
        string();
        expect(':');
      } else if (peek() == ']') {
        throw new JsonException("unexpected text");
      }
      return;
    }
  }
}
