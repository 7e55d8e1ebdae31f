package interop;

import com.google.protobuf.Any;
import com.google.rpc.ErrorInfo;
import com.nimbusds.jose.JOSEException;
import com.nimbusds.jose.JOSEObjectType;
import com.nimbusds.jose.JWSAlgorithm;
import com.nimbusds.jose.KeySourceException;
import com.nimbusds.jose.jwk.JWK;
import com.nimbusds.jose.jwk.JWKSelector;
import com.nimbusds.jose.jwk.source.JWKSource;
import com.nimbusds.jose.jwk.source.JWKSourceBuilder;
import com.nimbusds.jose.proc.BadJOSEException;
import com.nimbusds.jose.proc.DefaultJOSEObjectTypeVerifier;
import com.nimbusds.jose.proc.JWSVerificationKeySelector;
import com.nimbusds.jose.proc.SecurityContext;
import com.nimbusds.jose.util.JSONObjectUtils;
import com.nimbusds.jose.util.ResourceRetriever;
import com.nimbusds.jwt.JWTClaimsSet;
import com.nimbusds.jwt.proc.BadJWTException;
import com.nimbusds.jwt.proc.DefaultJWTClaimsVerifier;
import com.nimbusds.jwt.proc.DefaultJWTProcessor;
import com.nimbusds.jwt.proc.ExpiredJWTException;
import com.nimbusds.jwt.proc.JWTClaimsSetVerifier;
import com.nimbusds.jwt.proc.JWTProcessor;
import io.grpc.Context;
import io.grpc.Contexts;
import io.grpc.Metadata;
import io.grpc.ServerCall;
import io.grpc.ServerCallHandler;
import io.grpc.ServerInterceptor;
import io.grpc.Status;
import io.grpc.protobuf.StatusProto;
import java.io.IOException;
import java.net.URI;
import java.text.ParseException;
import java.time.Duration;
import java.time.Instant;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * Protects a gRPC server with access tokens of one issuer (RFC 9068). Uses Nimbus JOSE + JWT and the issuer's
 * JWK Set.
 */
public final class TokenVerifier implements ServerInterceptor {
  /** The verified claims of the current call. */
  public static final Context.Key<JWTClaimsSet> CALLER = Context.key("caller");

  private static final Metadata.Key<String> AUTHORIZATION =
      Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);

  /** Marks a method that needs no token, in place of a scope. No scope contains a space. */
  public static final String PUBLIC = "no token";

  private static final Metadata.Key<String> WWW_AUTHENTICATE =
      Metadata.Key.of("www-authenticate", Metadata.ASCII_STRING_MARSHALLER);

  /** The allowed difference of the clocks of issuer and verifier. */
  private static final Duration CLOCK_SKEW = Duration.ofSeconds(5);

  private final JWTProcessor<SecurityContext> processor;
  private final Map<String, String> scopes;

  /**
   * Returns a verifier with the given keys. {@code scopes} has the scope of each full method name. A method
   * without an entry is rejected, and a {@link #PUBLIC} one is open.
   */
  public TokenVerifier(
      JWKSource<SecurityContext> keys,
      JWTClaimsSetVerifier<SecurityContext> claims,
      Map<String, String> scopes) {
    var verifying = new DefaultJWTProcessor<SecurityContext>();
    verifying.setJWSTypeVerifier(
        new DefaultJOSEObjectTypeVerifier<>(
            new JOSEObjectType("at+jwt"), new JOSEObjectType("application/at+jwt")));
    verifying.setJWSKeySelector(new JWSVerificationKeySelector<>(JWSAlgorithm.ES256, keys));
    verifying.setJWTClaimsSetVerifier(claims);
    this.processor = verifying;
    this.scopes = Map.copyOf(scopes);
  }

  /** Returns a verifier with the issuer's key set, which is fetched again for an unknown key. */
  public static TokenVerifier ofJwks(
      String issuer, String audience, ResourceRetriever http, Map<String, String> scopes) {
    return new TokenVerifier(new IssuerKeys(issuer, http), claims(issuer, audience), scopes);
  }

  /**
   * The issuer's JWK Set, from the {@code jwks_uri} of its metadata. The first token fetches both. After a failure,
   * the next token tries again.
   */
  private static final class IssuerKeys implements JWKSource<SecurityContext> {
    private final String issuer;
    private final ResourceRetriever http;
    private volatile JWKSource<SecurityContext> keys;

    IssuerKeys(String issuer, ResourceRetriever http) {
      this.issuer = issuer;
      this.http = http;
    }

    @Override
    public List<JWK> get(JWKSelector selector, SecurityContext context) throws KeySourceException {
      if (keys == null) {
        keys = discover();
      }
      return keys.get(selector, context);
    }

    private JWKSource<SecurityContext> discover() throws KeySourceException {
      try {
        String url = issuer.replaceAll("/+$", "") + "/.well-known/openid-configuration";
        var metadata = JSONObjectUtils.parse(http.retrieveResource(URI.create(url).toURL()).getContent());
        URI place = JSONObjectUtils.getURI(metadata, "jwks_uri");
        if (place == null || !issuer.equals(JSONObjectUtils.getString(metadata, "issuer"))) {
          throw new KeySourceException("the metadata are those of another issuer, or name no keys");
        }
        return JWKSourceBuilder.create(place.toURL(), http).build();
      } catch (IOException | ParseException | IllegalArgumentException unreadable) {
        throw new KeySourceException("the issuer's metadata cannot be fetched", unreadable);
      }
    }
  }

  /** The required claims: exactly this issuer, this audience among others, and all claims of RFC 9068. */
  static DefaultJWTClaimsVerifier<SecurityContext> claims(String issuer, String audience) {
    var verifier =
        new DefaultJWTClaimsVerifier<SecurityContext>(
            audience,
            new JWTClaimsSet.Builder().issuer(issuer).build(),
            Set.of("exp", "iat", "sub", "jti", "client_id"));
    verifier.setMaxClockSkew((int) CLOCK_SKEW.toSeconds());
    return verifier;
  }

  /**
   * Returns the claims of a valid token. The library checks signature, issuer, audience, type and expiry. This
   * method checks the rest of RFC 9068.
   */
  JWTClaimsSet verify(String token) throws BadJOSEException, ParseException, JOSEException {
    JWTClaimsSet claims = processor.process(token, null);
    for (String name : List.of("sub", "jti", "client_id")) {
      if (!(claims.getClaim(name) instanceof String text) || text.isEmpty()) {
        throw new BadJWTException(name + " is not what it must be");
      }
    }
    if (!(claims.getClaims().getOrDefault("scope", "") instanceof String)) {
      throw new BadJWTException("the scope is not one string");
    }
    if (claims.getExpirationTime() == null) {
      throw new BadJWTException("a token that never expires");
    }
    if (claims.getIssueTime().toInstant().isAfter(Instant.now().plus(CLOCK_SKEW))) {
      throw new BadJWTException("not issued yet");
    }
    if (claims.getClaim("cnf") != null) {
      throw new BadJWTException("the token is good only with proof of its key");
    }
    return claims;
  }

  @Override
  public <Q, A> ServerCall.Listener<Q> interceptCall(
      ServerCall<Q, A> call, Metadata headers, ServerCallHandler<Q, A> next) {
    if (PUBLIC.equals(scopes.get(call.getMethodDescriptor().getFullMethodName()))) {
      return next.startCall(call, headers);
    }
    try {
      JWTClaimsSet claims = authorize(call.getMethodDescriptor().getFullMethodName(), headers);
      return Contexts.interceptCall(Context.current().withValue(CALLER, claims), call, headers, next);
    } catch (Refused refused) {
      call.close(refused.status, refused.trailers);
      return new ServerCall.Listener<>() {};
    }
  }

  private JWTClaimsSet authorize(String method, Metadata headers) throws Refused {
    String scope = scopes.get(method);
    if (scope == null) {
      throw new Refused(Status.PERMISSION_DENIED, "METHOD_NOT_DECLARED", "the method declares no policy", "");
    }
    JWTClaimsSet claims;
    try {
      claims = verify(bearer(headers));
    } catch (KeySourceException outOfReach) {
      throw new Refused(Status.UNAVAILABLE, "TRUST_UNAVAILABLE", "the issuer's keys are out of reach", "");
    } catch (ExpiredJWTException expired) {
      throw new Refused(Status.UNAUTHENTICATED, "TOKEN_EXPIRED", "the token has expired", "");
    } catch (BadJOSEException | ParseException | JOSEException bad) {
      throw new Refused(Status.UNAUTHENTICATED, "TOKEN_INVALID", "the token is not good", "");
    }
    String granted = claims.getClaims().getOrDefault("scope", "").toString();
    if (!List.of(granted.split(" ")).contains(scope)) {
      throw new Refused(
          Status.PERMISSION_DENIED, "SCOPE_INSUFFICIENT", "the token lacks the scope " + scope, scope);
    }
    return claims;
  }

  private static String bearer(Metadata headers) throws Refused {
    Iterable<String> all = headers.getAll(AUTHORIZATION);
    Iterator<String> values = all == null ? List.<String>of().iterator() : all.iterator();
    String header = values.hasNext() ? values.next() : "";
    if (values.hasNext() || !header.regionMatches(true, 0, "bearer ", 0, 7)) {
      throw new Refused(Status.UNAUTHENTICATED, "CREDENTIALS_MISSING", "one bearer token is needed", "");
    }
    return header.substring(7);
  }

  /**
   * A rejection with its reason of m2m.token.v1 (google.rpc.ErrorInfo), which programs and our client layer use, and
   * with the challenge of RFC 6750.
   */
  private static final class Refused extends Exception {
    private final transient Status status;
    private final transient Metadata trailers;

    Refused(Status status, String reason, String words, String missingScope) {
      super(words);
      this.status = status.withDescription(words);
      var info = ErrorInfo.newBuilder().setReason(reason).setDomain("m2m.token.v1");
      String challenge = "Bearer error=\"invalid_token\"";
      if (!missingScope.isEmpty()) {
        info.putMetadata("scope", missingScope);
        challenge = "Bearer error=\"insufficient_scope\", scope=\"" + missingScope + '"';
      } else if (reason.equals("CREDENTIALS_MISSING")) {
        challenge = "Bearer";
      }
      var detailed =
          com.google.rpc.Status.newBuilder()
              .setCode(status.getCode().value())
              .setMessage(words)
              .addDetails(Any.pack(info.build()));
      this.trailers = StatusProto.toStatusException(detailed.build()).getTrailers();
      if (status.getCode() == Status.Code.UNAUTHENTICATED || !missingScope.isEmpty()) {
        trailers.put(WWW_AUTHENTICATE, challenge);
      }
    }
  }
}
