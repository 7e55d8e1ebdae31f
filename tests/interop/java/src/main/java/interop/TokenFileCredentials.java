package interop;

import com.nimbusds.jwt.SignedJWT;
import io.grpc.CallCredentials;
import io.grpc.Metadata;
import io.grpc.SecurityLevel;
import io.grpc.Status;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.text.ParseException;
import java.time.Clock;
import java.time.Duration;
import java.time.Instant;
import java.util.Date;
import java.util.concurrent.Executor;

/**
 * Attaches the token of a file that another program renews, such as {@code token-server agent}. This is gRFC
 * A97, until grpc-java supports it. The file is read again from a minute before the token expires. The token is
 * used until 30 seconds before it expires.
 */
public final class TokenFileCredentials extends CallCredentials {
  private static final Duration READ_AGAIN_AHEAD = Duration.ofMinutes(1);
  private static final Duration UNUSED = Duration.ofSeconds(30);
  private static final Duration PAUSE = Duration.ofSeconds(1);
  private static final Metadata.Key<String> AUTHORIZATION =
      Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);

  private final Path file;
  private final Clock clock;
  private String header;
  private Instant expires = Instant.EPOCH;
  private Instant readAgain = Instant.EPOCH;
  private Status failure;

  /** Returns credentials for the token in {@code file}. The first call reads the file. */
  public TokenFileCredentials(Path file) {
    this(file, Clock.systemUTC());
  }

  TokenFileCredentials(Path file, Clock clock) {
    this.file = file;
    this.clock = clock;
  }

  @Override
  public void applyRequestMetadata(RequestInfo call, Executor executor, MetadataApplier applier) {
    if (call.getSecurityLevel() != SecurityLevel.PRIVACY_AND_INTEGRITY) {
      applier.fail(Status.UNAUTHENTICATED.withDescription("a token needs an encrypted connection"));
      return;
    }
    // The file may be on a slow disk, so it is not read on the thread of the transport.
    executor.execute(() -> apply(applier));
  }

  private synchronized void apply(MetadataApplier applier) {
    Instant now = clock.instant();
    if (!now.isBefore(readAgain)) {
      read(now);
    }
    if (now.isBefore(expires)) {
      var metadata = new Metadata();
      metadata.put(AUTHORIZATION, header);
      applier.apply(metadata);
    } else {
      applier.fail(failure);
    }
  }

  private void read(Instant now) {
    try {
      String token = Files.readString(file).strip();
      Date end = SignedJWT.parse(token).getJWTClaimsSet().getExpirationTime();
      if (end == null) {
        throw new ParseException("no exp", 0);
      }
      header = "Bearer " + token;
      expires = end.toInstant().minus(UNUSED);
      failure = Status.UNAVAILABLE.withDescription("the token in the file has expired");
    } catch (IOException unreadable) {
      failure = Status.UNAVAILABLE.withDescription("the token file cannot be read");
    } catch (ParseException malformed) {
      failure = Status.UNAUTHENTICATED.withDescription("the token file holds no token that expires");
    }
    Instant ahead = expires.minus(READ_AGAIN_AHEAD.minus(UNUSED));
    readAgain = ahead.isAfter(now) ? ahead : now.plus(PAUSE);
  }
}
