package example.m2m.client;

import example.m2m.internal.Destination;
import io.grpc.CallCredentials;
import io.grpc.Grpc;
import io.grpc.Metadata;
import io.grpc.SecurityLevel;
import java.util.concurrent.Executor;

/** The credentials of one attempt: one token, on a connection that it may be sent over. */
final class OneToken extends CallCredentials {
  static final Metadata.Key<String> AUTHORIZATION =
      Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);

  private final AccessToken token;

  OneToken(AccessToken token) {
    this.token = token;
  }

  @Override
  public void applyRequestMetadata(RequestInfo call, Executor executor, MetadataApplier applier) {
    apply(call, token, applier);
  }

  /** Java's library leaves the check of the connection to the credentials. */
  static void apply(RequestInfo call, AccessToken token, MetadataApplier applier) {
    boolean safe =
        call.getSecurityLevel() == SecurityLevel.PRIVACY_AND_INTEGRITY
            || Destination.isLoopback(call.getTransportAttrs().get(Grpc.TRANSPORT_ATTR_REMOTE_ADDR));
    if (!safe) {
      applier.fail(NoToken.plaintextRefused().status());
      return;
    }
    var headers = new Metadata();
    headers.put(AUTHORIZATION, token.header());
    applier.apply(headers);
  }
}
