package example.m2m.client;

import com.nimbusds.jose.JOSEException;
import com.nimbusds.jose.JOSEObjectType;
import com.nimbusds.jose.JWSAlgorithm;
import com.nimbusds.jose.JWSHeader;
import com.nimbusds.jose.JWSSigner;
import com.nimbusds.jose.crypto.factories.DefaultJWSSignerFactory;
import com.nimbusds.jose.crypto.impl.ECDSA;
import com.nimbusds.jose.jwk.ECKey;
import com.nimbusds.jose.jwk.JWK;
import com.nimbusds.jwt.JWTClaimsSet;
import com.nimbusds.jwt.SignedJWT;
import example.m2m.internal.Base64Url;
import example.m2m.token.v1.ClientAssertion;
import example.m2m.token.v1.ClientAuthentication;
import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.security.SecureRandom;
import java.time.Clock;
import java.time.Duration;
import java.time.Instant;
import java.util.Base64;
import java.util.Date;
import java.util.Map;
import java.util.Optional;

/** The authentication of a client to an issuer: RFC 6749 section 2.3, RFC 7523 section 2.2. Never printed. */
public abstract class ClientCredential {
  /** RFC 7523 section 2.2. */
  private static final String ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
  /** So that no other JWT of the client passes for an assertion (RFC 8725 section 3.11). */
  private static final JOSEObjectType ASSERTION_TYP = new JOSEObjectType("client-authentication+jwt");
  private static final Duration ASSERTION_LIFETIME = Duration.ofSeconds(60);

  private ClientCredential() {}

  /**
   * {@code client_secret_basic}, or {@code client_secret_post} where the issuer's metadata offer nothing
   * else.
   */
  public static ClientCredential secret(String secret) {
    return new Secret(secret);
  }

  /**
   * {@code private_key_jwt}: the client signs, the issuer has its public key. No secret is ever sent.
   *
   * @param key the client's key, private part included; its {@code kid} is the one that the issuer knows
   * @param issuer the issuer's identifier, the assertion's only audience
   * @throws IllegalArgumentException when the key cannot sign
   */
  public static ClientCredential privateKey(JWK key, String issuer) {
    try {
      return new PrivateKey(key, issuer, Clock.systemUTC());
    } catch (JOSEException unusable) {
      throw new IllegalArgumentException("the key cannot sign", unusable);
    }
  }

  /** Returns the proof for the {@code TokenService}. */
  abstract ClientAuthentication forGrpc(String clientId) throws SourceException;

  /**
   * Returns the {@code authorization} header of a form post, if the proof is there, and adds fields to the
   * form.
   */
  abstract Optional<String> forHttp(String clientId, boolean inForm, Map<String, String> form)
      throws SourceException;

  /** Hides the credential. */
  @Override
  public final String toString() {
    return "ClientCredential[REDACTED]";
  }

  private static final class Secret extends ClientCredential {
    private final String secret;

    Secret(String secret) {
      this.secret = secret;
    }

    @Override
    ClientAuthentication forGrpc(String clientId) {
      return ClientAuthentication.newBuilder().setClientId(clientId).setClientSecret(secret).build();
    }

    /**
     * RFC 6749 section 2.3.1: both halves are form-encoded first, or a colon would move the border between
     * them.
     */
    @Override
    Optional<String> forHttp(String clientId, boolean inForm, Map<String, String> form) {
      if (inForm) {
        form.put("client_id", clientId);
        form.put("client_secret", secret);
        return Optional.empty();
      }
      String pair =
          URLEncoder.encode(clientId, StandardCharsets.UTF_8) + ":"
              + URLEncoder.encode(secret, StandardCharsets.UTF_8);
      return Optional.of(
          "Basic " + Base64.getEncoder().encodeToString(pair.getBytes(StandardCharsets.UTF_8)));
    }
  }

  private static final class PrivateKey extends ClientCredential {
    private final SecureRandom random = new SecureRandom();
    private final JWSHeader header;
    private final JWSSigner signer;
    private final String issuer;
    private final Clock clock;

    PrivateKey(JWK key, String issuer, Clock clock) throws JOSEException {
      this.header =
          new JWSHeader.Builder(algorithm(key)).type(ASSERTION_TYP).keyID(key.getKeyID()).build();
      this.signer = new DefaultJWSSignerFactory().createJWSSigner(key, header.getAlgorithm());
      this.issuer = issuer;
      this.clock = clock;
    }

    private static JWSAlgorithm algorithm(JWK key) throws JOSEException {
      if (key.getAlgorithm() != null) {
        return JWSAlgorithm.parse(key.getAlgorithm().getName());
      }
      if (key instanceof ECKey elliptic) {
        return ECDSA.resolveAlgorithm(elliptic.getCurve());
      }
      return JWSAlgorithm.RS256;
    }

    /** Returns a new assertion: each is valid for one use. */
    private String sign(String clientId) throws SourceException {
      byte[] tokenId = new byte[16];
      random.nextBytes(tokenId);
      Instant now = clock.instant();
      var claims =
          new JWTClaimsSet.Builder()
              .issuer(clientId)
              .subject(clientId)
              .audience(issuer)
              .jwtID(Base64Url.encode(tokenId))
              .issueTime(Date.from(now))
              .expirationTime(Date.from(now.plus(ASSERTION_LIFETIME)))
              .build();
      var assertion = new SignedJWT(header, claims);
      try {
        assertion.sign(signer);
      } catch (JOSEException failed) {
        throw SourceException.unavailable("the client's assertion cannot be signed", failed);
      }
      return assertion.serialize();
    }

    @Override
    ClientAuthentication forGrpc(String clientId) throws SourceException {
      var assertion = ClientAssertion.newBuilder().setType(ASSERTION_TYPE).setValue(sign(clientId));
      return ClientAuthentication.newBuilder().setClientId(clientId).setAssertion(assertion).build();
    }

    @Override
    Optional<String> forHttp(String clientId, boolean inForm, Map<String, String> form) throws SourceException {
      form.put("client_id", clientId);
      form.put("client_assertion_type", ASSERTION_TYPE);
      form.put("client_assertion", sign(clientId));
      return Optional.empty();
    }
  }
}
