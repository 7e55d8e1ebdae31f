package example.m2m.server;

import java.util.List;

/**
 * The bearer token of a call: RFC 6750 section 2.1. A proxy may read the first of two fields and this layer
 * the last, so two are rejected.
 */
final class Bearer {
  private static final String SCHEME = "bearer";

  private Bearer() {}

  /**
   * Returns the one bearer token.
   *
   * @throws Denied when there is none, another scheme, two values, or no text after the scheme
   */
  static String of(List<String> authorization) throws Denied {
    if (authorization.isEmpty()) {
      throw Denied.credentialsMissing();
    }
    if (authorization.size() > 1) {
      throw Denied.credentialsMalformed("authorization occurs twice");
    }
    String value = authorization.get(0);
    boolean isBearer = value.regionMatches(true, 0, SCHEME, 0, SCHEME.length());
    String rest = isBearer ? value.substring(SCHEME.length()) : "";
    if (!isBearer || !rest.isEmpty() && rest.charAt(0) != ' ') {
      throw Denied.credentialsMissing();
    }
    int start = 0;
    while (start < rest.length() && rest.charAt(start) == ' ') {
      start++;
    }
    if (start == rest.length()) {
      throw Denied.credentialsMalformed("no token follows Bearer");
    }
    return rest.substring(start);
  }
}
