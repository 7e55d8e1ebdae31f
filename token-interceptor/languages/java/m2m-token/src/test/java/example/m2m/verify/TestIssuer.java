package example.m2m.verify;

import com.nimbusds.jose.JOSEException;
import com.nimbusds.jose.JOSEObjectType;
import com.nimbusds.jose.JWSAlgorithm;
import com.nimbusds.jose.JWSHeader;
import com.nimbusds.jose.crypto.ECDSASigner;
import com.nimbusds.jose.jwk.Curve;
import com.nimbusds.jose.jwk.ECKey;
import com.nimbusds.jose.jwk.JWKSet;
import com.nimbusds.jose.jwk.gen.ECKeyGenerator;
import com.nimbusds.jwt.JWTClaimsSet;
import com.nimbusds.jwt.SignedJWT;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.util.Date;

/** An issuer of tokens for tests. */
public final class TestIssuer {
  public static final String ISSUER = "https://issuer.example";

  private final ECKey key;
  private int tokens;

  public TestIssuer() throws JOSEException {
    key = new ECKeyGenerator(Curve.P_256).keyID("a").generate();
  }

  public byte[] jwks() {
    return new JWKSet(key).toString().getBytes(StandardCharsets.UTF_8);
  }

  public TrustedIssuer trusted() {
    return TrustedIssuer.fixed(ISSUER, KeySet.ofJwkSet(jwks()));
  }

  /** Returns a token with the ID {@code token-N}. */
  public String token(String audience, String scope, Instant now, Duration lifetime) throws JOSEException {
    return token(audience, scope, "orders", now, lifetime);
  }

  public String token(String audience, String scope, String client, Instant now, Duration lifetime)
      throws JOSEException {
    var claims =
        new JWTClaimsSet.Builder()
            .issuer(ISSUER)
            .subject(client)
            .audience(audience)
            .claim("client_id", client)
            .claim("scope", scope)
            .jwtID("token-" + ++tokens)
            .issueTime(Date.from(now))
            .expirationTime(Date.from(now.plus(lifetime)))
            .build();
    var header =
        new JWSHeader.Builder(JWSAlgorithm.ES256).type(new JOSEObjectType("at+jwt")).keyID("a").build();
    var token = new SignedJWT(header, claims);
    token.sign(new ECDSASigner(key));
    return token.serialize();
  }
}
