package example.m2m.verify;

import example.m2m.token.v1.ErrorReason;

/**
 * The failed check of a rejected token, in the order of the checks. For logs; the caller sees the reason
 * alone.
 */
public enum Fault {
  /** Longer than any token may be. It is not parsed. */
  TOO_LARGE,
  /** Not a compact JWS of two strict JSON objects, or a member of the wrong type. */
  MALFORMED,
  /** The algorithm is unsupported, not allowed for the issuer, or not the key's own. */
  ALGORITHM_NOT_ALLOWED,
  /** A header parameter that is never accepted: an extension, a key, or the address of a key. */
  HEADER_NOT_ALLOWED,
  /** The issuer is not trusted. */
  ISSUER_UNKNOWN,
  /** The issuer publishes no key with this ID. */
  KEY_UNKNOWN(ErrorReason.ERROR_REASON_TOKEN_KEY_UNKNOWN,
      "the token is signed by a key that its issuer does not publish"),
  /** The key set is unreachable, so the key may exist. */
  KEY_UNAVAILABLE(ErrorReason.ERROR_REASON_TRUST_UNAVAILABLE,
      "the token cannot be verified at the moment; try again"),
  /** The key did not make this signature. */
  SIGNATURE_INVALID,
  /** The type is not an access token's. */
  TYPE_NOT_ALLOWED,
  /** The token is valid only with proof of a key. */
  SENDER_CONSTRAINED,
  /** Issued to a client that this issuer may not issue tokens for. */
  CLIENT_NOT_TRUSTED(ErrorReason.ERROR_REASON_CALLER_NOT_ALLOWED, "the client may not call this method"),
  /** Issued for another audience. */
  AUDIENCE_MISMATCH(ErrorReason.ERROR_REASON_TOKEN_AUDIENCE_MISMATCH,
      "the token was issued for another audience"),
  /** The expiry has passed, leeway included. */
  EXPIRED(ErrorReason.ERROR_REASON_TOKEN_EXPIRED, "the token has expired"),
  /** Not valid before a time in the future. */
  NOT_YET_VALID,
  /** Issued in the future. */
  ISSUED_IN_FUTURE,
  /** Revoked by its owner or by an operator. */
  REVOKED(ErrorReason.ERROR_REASON_TOKEN_REVOKED, "the token was revoked");

  private final ErrorReason reason;
  private final String sentence;

  /** The caller is not told how far a forgery came. */
  Fault() {
    this(ErrorReason.ERROR_REASON_TOKEN_INVALID, "the token is not valid");
  }

  Fault(ErrorReason reason, String sentence) {
    this.reason = reason;
    this.sentence = sentence;
  }

  /** Returns the reason that the caller sees. */
  public ErrorReason reason() {
    return reason;
  }

  /** Returns the fixed sentence that the caller sees. */
  public String sentence() {
    return sentence;
  }
}
