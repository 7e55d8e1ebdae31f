package example.m2m.verify;

import com.nimbusds.jose.JOSEException;
import com.nimbusds.jose.JWSHeader;
import com.nimbusds.jose.crypto.ECDSAVerifier;
import com.nimbusds.jose.crypto.RSASSAVerifier;
import com.nimbusds.jose.jwk.Curve;
import com.nimbusds.jose.jwk.ECKey;
import com.nimbusds.jose.util.Base64URL;
import example.m2m.internal.Base64Url;
import java.math.BigInteger;
import java.security.GeneralSecurityException;
import java.security.KeyFactory;
import java.security.PublicKey;
import java.security.Signature;
import java.security.interfaces.RSAPublicKey;
import java.security.spec.ECFieldFp;
import java.security.spec.RSAPublicKeySpec;
import java.security.spec.X509EncodedKeySpec;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * A public key with its one algorithm: RFC 7517 section 4, RFC 7518 section 6, RFC 8037 section 2. So a
 * token's header cannot choose the algorithm (RFC 8725 section 3.1).
 */
final class VerifyingKey {
  /** Members that only a private or a symmetric key has: RFC 7518 sections 6.2.2, 6.3.2 and 6.4. */
  private static final List<String> PRIVATE = List.of("d", "p", "q", "dp", "dq", "qi", "oth", "k");

  /** One curve, one algorithm. */
  private static final Map<String, Algorithm> CURVES =
      Map.of("P-256", Algorithm.ES256, "P-384", Algorithm.ES384, "P-521", Algorithm.ES512);

  private static final int MODULUS_BYTES_MIN = 256;
  private static final int MODULUS_BITS_MAX = 8192;
  private static final int EXPONENT_BITS_MAX = 33;
  private static final int ED25519_BYTES = 32;
  /** RFC 8410 section 4: the head of a SubjectPublicKeyInfo of an Ed25519 key. */
  private static final String ED25519_HEAD = "302a300506032b6570032100";

  private final Optional<String> keyId;
  private final Algorithm algorithm;
  private final Check check;
  private final Map<String, Object> jwk;

  /** The check of a signature. */
  private interface Check {
    boolean verifies(byte[] message, byte[] signature) throws JOSEException, GeneralSecurityException;
  }

  private VerifyingKey(Map<String, Object> jwk, Algorithm algorithm, Check check) throws UnusableKeyException {
    this.keyId = text(jwk, "kid");
    this.algorithm = algorithm;
    this.check = check;
    this.jwk = jwk;
  }

  /** The error of a JWK that cannot verify signatures. */
  static final class UnusableKeyException extends Exception {
    private static final long serialVersionUID = 1;

    UnusableKeyException(String message) {
      super(message);
    }
  }

  /**
   * Reads a public JWK. Without {@code alg}, the curve decides the algorithm, and an RSA key is taken for
   * RS256.
   */
  static VerifyingKey of(Map<String, Object> jwk) throws UnusableKeyException {
    for (String member : PRIVATE) {
      require(!jwk.containsKey(member), "it has a private member");
    }
    require(jwk.getOrDefault("use", "sig").equals("sig"), "its use is not sig");
    Object operations = jwk.getOrDefault("key_ops", List.of("verify"));
    require(operations instanceof List<?> list && list.contains("verify"), "its key_ops do not allow verify");
    Optional<String> name = text(jwk, "alg");
    Optional<Algorithm> declared = name.flatMap(Algorithm::of);
    require(name.isPresent() == declared.isPresent(), "its alg is not supported");
    try {
      return switch (text(jwk, "kty").orElse("")) {
        case "EC" -> elliptic(jwk, declared);
        case "OKP" -> edwards(jwk, declared);
        case "RSA" -> rsa(jwk, declared);
        default -> throw new UnusableKeyException("its kty is not EC, OKP or RSA");
      };
    } catch (GeneralSecurityException | JOSEException | IllegalStateException | IllegalArgumentException unusable) {
      throw new UnusableKeyException("its parameters are not those of a public key");
    }
  }

  private static VerifyingKey elliptic(Map<String, Object> jwk, Optional<Algorithm> declared)
      throws UnusableKeyException, JOSEException {
    String crv = text(jwk, "crv").orElse("");
    Algorithm algorithm = CURVES.get(crv);
    require(algorithm != null, "its crv is not supported");
    var curve = new Curve(crv);
    require(declared.orElse(algorithm) == algorithm, "its alg does not belong to its crv");
    byte[] x = bytes(jwk, "x");
    byte[] y = bytes(jwk, "y");
    // RFC 7518 section 6.2.1.2: full length, leading zeros kept.
    int length = (curve.toECParameterSpec().getCurve().getField().getFieldSize() + 7) / 8;
    require(x.length == length && y.length == length, "a coordinate does not have the curve's length");
    // Nimbus checks that the point is on the curve, and not that a coordinate is below the field's prime.
    require(isBelow(prime(curve), x) && isBelow(prime(curve), y), "its coordinates are not a point on the curve");
    var key = new ECKey.Builder(curve, Base64URL.encode(x), Base64URL.encode(y)).build();
    var verifier = new ECDSAVerifier(key.toECPublicKey());
    var header = new JWSHeader(algorithm.jose());
    return new VerifyingKey(
        jwk, algorithm, (message, signature) -> verifier.verify(header, message, Base64URL.encode(signature)));
  }

  private static BigInteger prime(Curve curve) {
    return ((ECFieldFp) curve.toECParameterSpec().getCurve().getField()).getP();
  }

  private static boolean isBelow(BigInteger prime, byte[] coordinate) {
    return new BigInteger(1, coordinate).compareTo(prime) < 0;
  }

  /** By the JDK's own Ed25519: that of Nimbus needs one more library. */
  private static VerifyingKey edwards(Map<String, Object> jwk, Optional<Algorithm> declared)
      throws UnusableKeyException, GeneralSecurityException {
    require(text(jwk, "crv").orElse("").equals("Ed25519"), "its crv is not supported");
    require(declared.orElse(Algorithm.EDDSA) == Algorithm.EDDSA, "its alg does not belong to its crv");
    byte[] x = bytes(jwk, "x");
    require(x.length == ED25519_BYTES, "a coordinate does not have the curve's length");
    byte[] encoded = HexFormat.of().parseHex(ED25519_HEAD + HexFormat.of().formatHex(x));
    PublicKey key = KeyFactory.getInstance("Ed25519").generatePublic(new X509EncodedKeySpec(encoded));
    return new VerifyingKey(
        jwk,
        Algorithm.EDDSA,
        (message, signature) -> {
          var verifier = Signature.getInstance("Ed25519");
          verifier.initVerify(key);
          verifier.update(message);
          return verifier.verify(signature);
        });
  }

  private static VerifyingKey rsa(Map<String, Object> jwk, Optional<Algorithm> declared)
      throws UnusableKeyException, GeneralSecurityException {
    Algorithm algorithm = declared.orElse(Algorithm.RS256);
    require(algorithm == Algorithm.RS256 || algorithm == Algorithm.PS256, "its alg does not belong to its kty");
    // Some issuers write leading zero octets, although RFC 7518 section 6.3.1.1 forbids them.
    var modulus = new BigInteger(1, bytes(jwk, "n"));
    var exponent = new BigInteger(1, bytes(jwk, "e"));
    require(modulus.bitLength() > 8 * (MODULUS_BYTES_MIN - 1), "its modulus has less than 2048 bits");
    require(modulus.bitLength() <= MODULUS_BITS_MAX, "its modulus has more than 8192 bits");
    require(
        modulus.testBit(0) && exponent.testBit(0) && exponent.bitLength() > 1
            && exponent.bitLength() <= EXPONENT_BITS_MAX,
        "its modulus or its exponent is not one of an RSA key");
    var key = KeyFactory.getInstance("RSA").generatePublic(new RSAPublicKeySpec(modulus, exponent));
    var verifier = new RSASSAVerifier((RSAPublicKey) key);
    var header = new JWSHeader(algorithm.jose());
    return new VerifyingKey(
        jwk, algorithm, (message, signature) -> verifier.verify(header, message, Base64URL.encode(signature)));
  }

  Optional<String> keyId() {
    return keyId;
  }

  Algorithm algorithm() {
    return algorithm;
  }

  /** Returns true if this key made {@code signature} over {@code message}. */
  boolean verifies(byte[] message, byte[] signature) {
    try {
      return check.verifies(message, signature);
    } catch (JOSEException | GeneralSecurityException notASignature) {
      return false;
    }
  }

  /** Returns true if both are the same key with the same parameters. */
  boolean isSame(VerifyingKey other) {
    return this == other || jwk.equals(other.jwk);
  }

  private static Optional<String> text(Map<String, Object> jwk, String name) throws UnusableKeyException {
    Object value = jwk.get(name);
    require(value == null || value instanceof String, "a member has the wrong type");
    return Optional.ofNullable((String) value);
  }

  private static byte[] bytes(Map<String, Object> jwk, String name) throws UnusableKeyException {
    String text = text(jwk, name).orElseThrow(() -> new UnusableKeyException("a key parameter is missing"));
    return Base64Url.decode(text).orElseThrow(() -> new UnusableKeyException("a key parameter is no base64url"));
  }

  private static void require(boolean holds, String fault) throws UnusableKeyException {
    if (!holds) {
      throw new UnusableKeyException(fault);
    }
  }
}
