package example.m2m.verify;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import example.m2m.internal.Simulated;
import java.io.IOException;
import java.time.Duration;
import java.time.Instant;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** Verdicts that change with time, keys and revocations. */
class VerifierTest {
  private static final Instant NOW = Instant.parse("2026-01-01T00:00:00Z");

  private final Simulated time = new Simulated(NOW);
  private TestIssuer issuer;

  @BeforeEach
  void issuer() throws Exception {
    issuer = new TestIssuer();
  }

  private static Fault refused(Verifier verifier, String token) {
    return assertThrows(VerifyException.class, () -> verifier.verify(token, "inventory")).fault();
  }

  @Test
  void aTokenSeenBeforeExpires() throws Exception {
    var verifier = Verifier.builder().timeline(time).issuer(issuer.trusted()).build();
    String token = issuer.token("inventory", "a", NOW, Duration.ofSeconds(60));
    assertEquals("orders", verifier.verify(token, "inventory").clientId());
    time.pass(Duration.ofSeconds(64));
    verifier.verify(token, "inventory");
    time.pass(Duration.ofSeconds(1));
    assertEquals(Fault.EXPIRED, refused(verifier, token));
  }

  @Test
  void aTokenSeenBeforeIsRevoked() throws Exception {
    var revocations = new Revocations();
    var verifier =
        Verifier.builder().timeline(time).issuer(issuer.trusted().revocations(revocations)).build();
    String token = issuer.token("inventory", "a", NOW, Duration.ofSeconds(60));
    verifier.verify(token, "inventory");
    revocations.revokeToken("token-1", NOW.plusSeconds(60));
    assertEquals(Fault.REVOKED, refused(verifier, token));
  }

  @Test
  void everyTokenOfARevokedClientIsRevoked() throws Exception {
    var revocations = new Revocations();
    var verifier =
        Verifier.builder().timeline(time).issuer(issuer.trusted().revocations(revocations)).build();
    String old = issuer.token("inventory", "a", NOW, Duration.ofSeconds(60));
    String later = issuer.token("inventory", "a", NOW.plusSeconds(2), Duration.ofSeconds(60));
    revocations.revokeClient("orders", NOW.plusSeconds(1), NOW.plusSeconds(100));
    assertEquals(Fault.REVOKED, refused(verifier, old));
    verifier.verify(later, "inventory");
  }

  @Test
  void anotherAudienceIsRefusedForATokenSeenBefore() throws Exception {
    var verifier = Verifier.builder().timeline(time).issuer(issuer.trusted()).build();
    String token = issuer.token("inventory", "a", NOW, Duration.ofSeconds(60));
    verifier.verify(token, "inventory");
    var refused = assertThrows(VerifyException.class, () -> verifier.verify(token, "orders"));
    assertEquals(Fault.AUDIENCE_MISMATCH, refused.fault());
    verifier.verify(token, "inventory");
  }

  @Test
  void aWithdrawnKeyEndsATokenSeenBefore() throws Exception {
    var served = new AtomicReference<>(issuer.jwks());
    var trusted =
        TrustedIssuer.fetched(
            TestIssuer.ISSUER, () -> CompletableFuture.completedFuture(KeySet.ofJwkSet(served.get())));
    var verifier = Verifier.builder().timeline(time).issuer(trusted).build();
    String token = issuer.token("inventory", "a", NOW, Duration.ofHours(1));
    verifier.verify(token, "inventory");
    served.set(new TestIssuer().jwks());
    time.pass(Duration.ofMinutes(6));
    assertEquals(Fault.SIGNATURE_INVALID, refused(verifier, token));
  }

  @Test
  void unknownKeysCauseOneFetchPerCooldown() throws Exception {
    var fetches = new AtomicInteger();
    var trusted =
        TrustedIssuer.fetched(
            TestIssuer.ISSUER,
            () -> {
              fetches.incrementAndGet();
              return CompletableFuture.completedFuture(KeySet.ofJwkSet("{\"keys\":[]}".getBytes()));
            });
    var verifier = Verifier.builder().timeline(time).issuer(trusted).build();
    for (int call = 0; call < 100; call++) {
      assertEquals(Fault.KEY_UNKNOWN, refused(verifier, issuer.token("inventory", "a", NOW, Duration.ofHours(1))));
    }
    assertEquals(2, fetches.get(), "one at the start, and one for the first unknown key");
  }

  @Test
  void anUnreachableIssuerIsNotTheCallersFault() throws Exception {
    var reachable = new AtomicReference<>(false);
    var trusted =
        TrustedIssuer.fetched(
            TestIssuer.ISSUER,
            () ->
                reachable.get()
                    ? CompletableFuture.completedFuture(KeySet.ofJwkSet(issuer.jwks()))
                    : CompletableFuture.failedFuture(new IOException("refused")));
    var verifier = Verifier.builder().timeline(time).issuer(trusted).build();
    String token = issuer.token("inventory", "a", NOW, Duration.ofHours(1));
    var refused = assertThrows(VerifyException.class, () -> verifier.verify(token, "inventory"));
    assertTrue(refused.isTransient());
    assertFalse(refused.retryAfter().orElseThrow().isZero());
    reachable.set(true);
    time.pass(Duration.ofSeconds(6));
    verifier.verify(token, "inventory");
  }

  @Test
  void staleKeysAreNotUsed() throws Exception {
    var first = new AtomicReference<>(true);
    var trusted =
        TrustedIssuer.fetched(
                TestIssuer.ISSUER,
                () ->
                    first.getAndSet(false)
                        ? CompletableFuture.completedFuture(KeySet.ofJwkSet(issuer.jwks()))
                        : CompletableFuture.failedFuture(new IOException("refused")))
            .staleAfter(Duration.ofMinutes(10));
    var verifier = Verifier.builder().timeline(time).issuer(trusted).build();
    String token = issuer.token("inventory", "a", NOW, Duration.ofHours(1));
    time.pass(Duration.ofMinutes(9));
    verifier.verify(token, "inventory");
    time.pass(Duration.ofMinutes(2));
    assertEquals(Fault.KEY_UNAVAILABLE, refused(verifier, token));
  }

  @Test
  void nothingSecretIsPrinted() throws Exception {
    var verifier = Verifier.builder().timeline(time).issuer(issuer.trusted()).build();
    String token = issuer.token("inventory", "a", NOW, Duration.ofHours(1));
    String signature = token.substring(token.lastIndexOf('.') + 1);
    assertFalse(verifier.verify(token, "inventory").toString().contains(signature));
    String forged = token.substring(0, token.length() - 4) + "AAAA";
    var refused = assertThrows(VerifyException.class, () -> verifier.verify(forged, "inventory"));
    assertFalse(refused.toString().contains(token.substring(0, 40)), refused.toString());
  }
}
