package interop;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.nimbusds.jose.JOSEException;
import com.nimbusds.jose.JOSEObjectType;
import com.nimbusds.jose.JWSAlgorithm;
import com.nimbusds.jose.jwk.source.JWKSourceBuilder;
import com.nimbusds.jose.proc.BadJOSEException;
import com.nimbusds.jose.proc.DefaultJOSEObjectTypeVerifier;
import com.nimbusds.jose.proc.JWSVerificationKeySelector;
import com.nimbusds.jose.proc.SecurityContext;
import com.nimbusds.jose.util.JSONObjectUtils;
import com.nimbusds.jose.util.Resource;
import com.nimbusds.jose.util.ResourceRetriever;
import com.nimbusds.jwt.JWTClaimsSet;
import com.nimbusds.jwt.proc.DefaultJWTClaimsVerifier;
import com.nimbusds.jwt.proc.DefaultJWTProcessor;
import example.m2m.server.Authorization;
import example.m2m.verify.KeySet;
import example.m2m.verify.TrustedIssuer;
import example.m2m.verify.VerifyException;
import inventory.v1.Inventory.GetItemRequest;
import inventory.v1.InventoryServiceGrpc;
import io.grpc.Channel;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.InsecureServerCredentials;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.MetadataUtils;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.text.ParseException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;

/** Runs every forged token of the gallery. {@code gallery.json} records the accepted ones. */
class GalleryTest {
  private interface Verifier {
    void verify(String token) throws BadJOSEException, JOSEException, ParseException;
  }

  private static final Map<String, Object> GALLERY = read("../../../token-interceptor/testdata/forgeries.json");
  private static final Map<String, Object> RECORD = read("../gallery.json");
  private static final String PACKAGE = "example.m2m:m2m-token";
  private static final String ISSUER = (String) GALLERY.get("issuer");
  private static final String AUDIENCE = (String) GALLERY.get("audience");

  private static Map<String, Object> read(String path) {
    try {
      return JSONObjectUtils.parse(Files.readString(Path.of(path)));
    } catch (Exception unreadable) {
      throw new IllegalStateException(path, unreadable);
    }
  }

  /** The gallery's issuer, with its metadata and key set. */
  private static ResourceRetriever keys() {
    var metadata = Map.<String, Object>of("issuer", ISSUER, "jwks_uri", ISSUER + "/jwks.json");
    return url -> {
      var document = url.getPath().endsWith("/jwks.json") ? object(GALLERY.get("jwks")) : metadata;
      return new Resource(JSONObjectUtils.toJSONString(document), "application/json");
    };
  }

  @SuppressWarnings("unchecked")
  private static Map<String, Object> object(Object value) {
    return (Map<String, Object>) value;
  }

  private static List<Map<String, Object>> tokens(String list) {
    return ((List<?>) GALLERY.get(list)).stream().map(GalleryTest::object).toList();
  }

  private static void accepts(String name, Verifier verifier) throws Exception {
    for (var good : tokens("good")) {
      verifier.verify((String) good.get("token"));
    }
    List<Object> accepted = new ArrayList<>();
    for (var forgery : tokens("forgeries")) {
      try {
        verifier.verify((String) forgery.get("token"));
        accepted.add(forgery.get("name"));
      } catch (BadJOSEException | JOSEException | ParseException refused) {
        // This is the correct answer.
      }
    }
    assertEquals(RECORD.get(name), accepted);
  }

  @Test
  void whatNimbusAcceptsAlone() throws Exception {
    assertFalse(tokens("forgeries").isEmpty());
    var source = JWKSourceBuilder.create(URI.create(ISSUER + "/jwks.json").toURL(), keys()).build();
    var processor = new DefaultJWTProcessor<SecurityContext>();
    processor.setJWSKeySelector(new JWSVerificationKeySelector<>(JWSAlgorithm.ES256, source));
    processor.setJWSTypeVerifier(
        new DefaultJOSEObjectTypeVerifier<>(new JOSEObjectType("at+jwt"), new JOSEObjectType("application/at+jwt")));
    processor.setJWTClaimsSetVerifier(
        new DefaultJWTClaimsVerifier<>(
            AUDIENCE, new JWTClaimsSet.Builder().issuer(ISSUER).build(), Set.of("exp")));
    accepts("Nimbus", token -> processor.process(token, null));
  }

  @Test
  void whatThePackageAccepts() throws Exception {
    var verifier = verifier();
    accepts(
        PACKAGE,
        token -> {
          try {
            verifier.verify(token, AUDIENCE);
          } catch (VerifyException refused) {
            throw new BadJOSEException(refused.getMessage());
          }
        });
  }

  private static example.m2m.verify.Verifier verifier() {
    var jwks = JSONObjectUtils.toJSONString(object(GALLERY.get("jwks"))).getBytes(StandardCharsets.UTF_8);
    var issuer = TrustedIssuer.fixed(ISSUER, KeySet.ofJwkSet(jwks));
    return example.m2m.verify.Verifier.builder().issuer(issuer).build();
  }

  /** As in an application, the layer protects every method. It trusts the gallery's issuer. */
  @Test
  void whatAServerAcceptsOverTheWire() throws Exception {
    var server =
        Authorization.of(verifier())
            .around(Grpc.newServerBuilderForPort(0, InsecureServerCredentials.create()))
            .addService(new InventoryServiceGrpc.InventoryServiceImplBase() {})
            .build()
            .start();
    var channel =
        Grpc.newChannelBuilder("localhost:" + server.getPort(), InsecureChannelCredentials.create()).build();
    try {
      for (var good : tokens("good")) {
        assertTrue(passes(channel, (String) good.get("token")));
      }
      List<Object> known = new ArrayList<>();
      List<Object> accepted = new ArrayList<>();
      for (var forgery : tokens("forgeries")) {
        var token = (String) forgery.get("token");
        // The transport rejects a token that is longer than a header may be.
        if (token.length() < 7000) {
          known.add(forgery.get("name"));
          if (passes(channel, token)) {
            accepted.add(forgery.get("name"));
          }
        }
      }
      var record = ((List<?>) RECORD.get(PACKAGE)).stream().filter(known::contains).toList();
      assertEquals(record, accepted);
    } finally {
      channel.shutdownNow();
      server.shutdownNow();
    }
  }

  private static boolean passes(Channel channel, String token) {
    var headers = new Metadata();
    headers.put(Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER), "Bearer " + token);
    var service =
        InventoryServiceGrpc.newBlockingStub(channel)
            .withInterceptors(MetadataUtils.newAttachHeadersInterceptor(headers))
            .withDeadlineAfter(20, TimeUnit.SECONDS);
    var answer =
        assertThrows(
            StatusRuntimeException.class, () -> service.getItem(GetItemRequest.getDefaultInstance()));
    var code = answer.getStatus().getCode();
    var refused = Set.of(Status.Code.UNAUTHENTICATED);
    // The scope and the handler, which are missing for most tokens, are checked after the token.
    var passed = Set.of(Status.Code.PERMISSION_DENIED, Status.Code.UNIMPLEMENTED);
    assertTrue(refused.contains(code) || passed.contains(code), () -> code + " " + answer.getMessage());
    return passed.contains(code);
  }
}
