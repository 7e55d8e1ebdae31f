package example.m2m.verify;

import com.nimbusds.jose.JWSAlgorithm;
import java.util.Optional;
import java.util.Set;

/**
 * The algorithms of token signatures (RFC 7518 section 3.1, RFC 8037 section 3.1). There is no HMAC and no
 * none.
 */
public enum Algorithm {
  /** ECDSA on P-256 with SHA-256. */
  ES256(JWSAlgorithm.ES256),
  /** Ed25519. */
  EDDSA(JWSAlgorithm.EdDSA),
  /** ECDSA on P-384 with SHA-384. */
  ES384(JWSAlgorithm.ES384),
  /** ECDSA on P-521 with SHA-512. Other issuers sign with it. */
  ES512(JWSAlgorithm.ES512),
  /** RSASSA-PSS with SHA-256. */
  PS256(JWSAlgorithm.PS256),
  /** RSASSA-PKCS1-v1_5 with SHA-256. RFC 9068 section 2.1 requires its support. */
  RS256(JWSAlgorithm.RS256);

  /** Every algorithm. */
  public static final Set<Algorithm> ALL = Set.of(values());

  /** The algorithms that an issuer of this project signs with. */
  public static final Set<Algorithm> DEFAULT = Set.of(ES256, EDDSA, ES384, PS256, RS256);

  private final JWSAlgorithm jose;

  Algorithm(JWSAlgorithm jose) {
    this.jose = jose;
  }

  JWSAlgorithm jose() {
    return jose;
  }

  /** Returns the JOSE name, as in {@code alg}. */
  public String joseName() {
    return jose.getName();
  }

  /**
   * Returns the algorithm of a JOSE name. {@code Ed25519} is RFC 9864's name for RFC 8037's {@code EdDSA}.
   */
  public static Optional<Algorithm> of(String joseName) {
    for (Algorithm algorithm : values()) {
      if (algorithm.joseName().equals(joseName)) {
        return Optional.of(algorithm);
      }
    }
    return joseName.equals("Ed25519") ? Optional.of(EDDSA) : Optional.empty();
  }
}
