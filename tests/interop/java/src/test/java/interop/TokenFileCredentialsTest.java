package interop;

import static org.junit.jupiter.api.Assertions.assertEquals;

import com.nimbusds.jose.util.Base64URL;
import io.grpc.SecurityLevel;
import io.grpc.Status;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Clock;
import java.time.Instant;
import java.time.ZoneId;
import java.time.ZoneOffset;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The behaviour of the credentials of a token file, with a stopped clock. */
class TokenFileCredentialsTest {
  @TempDir private Path folder;
  private Path file;
  private Instant now = Instant.parse("2026-11-24T12:00:00Z");
  private TokenFileCredentials credentials;

  @BeforeEach
  void open() {
    file = folder.resolve("token");
    credentials =
        new TokenFileCredentials(
            file,
            new Clock() {
              @Override
              public Instant instant() {
                return now;
              }

              @Override
              public ZoneId getZone() {
                return ZoneOffset.UTC;
              }

              @Override
              public Clock withZone(ZoneId zone) {
                return this;
              }
            });
  }

  /** A token with that lifetime. No test checks its signature. */
  private String write(int seconds) throws IOException {
    String claims = "{\"exp\":" + now.plusSeconds(seconds).getEpochSecond() + "}";
    String token = Base64URL.encode("{\"alg\":\"ES256\"}") + "." + Base64URL.encode(claims) + ".AA";
    Files.writeString(file, token + "\n");
    return "Bearer " + token;
  }

  private Applied call() {
    return Applied.by(credentials, SecurityLevel.PRIVACY_AND_INTEGRITY);
  }

  @Test
  void aTokenIsUsedUntilThirtySecondsBeforeItExpires() throws IOException {
    String token = write(300);
    assertEquals(token, call().header());
    now = now.plusSeconds(269);
    assertEquals(token, call().header());
    now = now.plusSeconds(1);
    assertEquals(Status.Code.UNAVAILABLE, call().failure());
  }

  @Test
  void theFileIsReadAgainAMinuteBeforeItsTokenExpires() throws IOException {
    String first = write(300);
    assertEquals(first, call().header());
    String second = write(600);
    now = now.plusSeconds(239);
    assertEquals(first, call().header());
    now = now.plusSeconds(1);
    assertEquals(second, call().header());
  }

  @Test
  void aTokenInHandServesWhileTheFileIsGone() throws IOException {
    String token = write(300);
    assertEquals(token, call().header());
    Files.delete(file);
    now = now.plusSeconds(260);
    assertEquals(token, call().header());
  }

  @Test
  void aMissingFileIsUnavailableAndLookedForAgainAfterASecond() throws IOException {
    assertEquals(Status.Code.UNAVAILABLE, call().failure());
    String token = write(300);
    assertEquals(Status.Code.UNAVAILABLE, call().failure());
    now = now.plusSeconds(1);
    assertEquals(token, call().header());
  }

  @Test
  void aFileWithoutATokenThatExpiresIsUnauthenticated() throws IOException {
    for (String content : new String[] {"", "one word", "e30.e30.AA", Base64URL.encode("{\"alg\":\"ES256\"}") + ".e30.AA"}) {
      now = now.plusSeconds(1);
      Files.writeString(file, content);
      assertEquals(Status.Code.UNAUTHENTICATED, call().failure(), content);
    }
  }

  @Test
  void refusesAPlaintextConnection() throws IOException {
    write(300);
    for (SecurityLevel level : new SecurityLevel[] {SecurityLevel.NONE, SecurityLevel.INTEGRITY}) {
      assertEquals(Status.Code.UNAUTHENTICATED, Applied.by(credentials, level).failure());
    }
  }
}
