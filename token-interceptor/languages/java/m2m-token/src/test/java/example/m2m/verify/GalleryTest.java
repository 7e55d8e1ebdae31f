package example.m2m.verify;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import com.nimbusds.jose.util.JSONObjectUtils;
import example.m2m.internal.Simulated;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;

/** The gallery of forged tokens: each gets the verdict that it names. */
class GalleryTest {
  private static Map<String, Object> gallery;
  private static Verifier verifier;

  @BeforeAll
  static void read() throws Exception {
    gallery = JSONObjectUtils.parse(Files.readString(Path.of("../../../testdata/forgeries.json")));
    byte[] jwks =
        JSONObjectUtils.toJSONString(JSONObjectUtils.getJSONObject(gallery, "jwks"))
            .getBytes(StandardCharsets.UTF_8);
    var keys = KeySet.ofJwkSet(jwks);
    assertEquals(1, keys.size());
    assertEquals(3, keys.skipped());
    verifier =
        Verifier.builder()
            .timeline(new Simulated(Instant.parse("2026-01-01T00:01:00Z")))
            .issuer(TrustedIssuer.fixed((String) gallery.get("issuer"), keys))
            .build();
  }

  private static Stream<Map<?, ?>> tokens(String list) {
    return ((List<?>) gallery.get(list)).stream().map(entry -> (Map<?, ?>) entry);
  }

  @TestFactory
  Stream<DynamicTest> validTokensAreAccepted() {
    return tokens("good")
        .map(
            good ->
                DynamicTest.dynamicTest(
                    (String) good.get("name"), () -> verifier.verify((String) good.get("token"), "inventory")));
  }

  @TestFactory
  Stream<DynamicTest> forgeriesAreRejectedForTheReasonThatTheyName() {
    return tokens("forgeries")
        .map(
            forgery ->
                DynamicTest.dynamicTest(
                    (String) forgery.get("name"),
                    () -> {
                      String token = (String) forgery.get("token");
                      var refused =
                          assertThrows(VerifyException.class, () -> verifier.verify(token, "inventory"));
                      assertEquals("ERROR_REASON_" + forgery.get("reason"), refused.fault().reason().name());
                    }));
  }
}
