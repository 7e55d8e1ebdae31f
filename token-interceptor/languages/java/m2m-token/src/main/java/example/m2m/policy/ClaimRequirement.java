package example.m2m.policy;

import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.regex.Pattern;

/**
 * A claim of the token and its allowed values.
 *
 * @param claim the name of the claim; if it begins with {@code /}, a JSON Pointer (RFC 6901) into the claims
 * @param values the allowed values; the claim is one of these strings, or a list that contains one
 */
public record ClaimRequirement(String claim, List<String> values) {
  /** RFC 6901 section 3: a tilde stands only before 0 or 1. */
  private static final Pattern NO_POINTER = Pattern.compile("~(?![01])");

  private static final Pattern INDEX = Pattern.compile("0|[1-9][0-9]{0,8}");

  /** Copies the list. */
  public ClaimRequirement {
    values = List.copyOf(values);
  }

  /** Returns true if the claim in {@code claims} has an allowed value. */
  public boolean allows(Map<String, Object> claims) {
    Object value = valueIn(claims);
    return value instanceof List<?> items ? items.stream().anyMatch(this::isOne) : isOne(value);
  }

  private boolean isOne(Object value) {
    return value instanceof String text && values.contains(text);
  }

  private Object valueIn(Map<String, Object> claims) {
    if (!claim.startsWith("/")) {
      return claims.get(claim);
    }
    Object value = claims;
    for (String escaped : claim.substring(1).split("/", -1)) {
      String token = escaped.replace("~1", "/").replace("~0", "~");
      if (value instanceof Map<?, ?> members) {
        value = members.get(token);
      } else if (value instanceof List<?> items && INDEX.matcher(token).matches()) {
        int index = Integer.parseInt(token);
        value = index < items.size() ? items.get(index) : null;
      } else {
        return null;
      }
    }
    return value;
  }

  /** Scopes and clients have fields of their own, which know the limits of each issuer. */
  Optional<String> fault() {
    String name = claim.startsWith("/") ? claim.substring(1) : claim;
    String first = claim.startsWith("/") ? name.split("/", 2)[0] : claim;
    String shown = "\"" + claim + "\"";
    if (values.isEmpty()) {
      return Optional.of("the claim " + shown + " has no allowed values, so no token could meet it");
    }
    if (name.isEmpty()) {
      return Optional.of(shown + " is not the name of a claim");
    }
    if (List.of("scope", "scp").contains(first)) {
      return Optional.of(shown + ": use all_scopes or any_scopes");
    }
    if (List.of("client_id", "azp", "cid", "appid").contains(first)) {
      return Optional.of(shown + ": use callers");
    }
    if (claim.startsWith("/") && NO_POINTER.matcher(claim).find()) {
      return Optional.of(shown + " is not a JSON Pointer (RFC 6901): write ~ as ~0");
    }
    return Optional.empty();
  }
}
