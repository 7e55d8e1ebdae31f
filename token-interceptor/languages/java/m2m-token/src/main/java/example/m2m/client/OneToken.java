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
  private final boolean optional;

  /**
   * @param optional true for a call that goes without the token where the token must not go
   */
  OneToken(AccessToken token, boolean optional) {
    this.token = token;
    this.optional = optional;
  }

  @Override
  public void applyRequestMetadata(RequestInfo call, Executor executor, MetadataApplier applier) {
    apply(call, token, optional, applier);
  }

  /** Java's library leaves the check of the connection to the credentials. */
  static void apply(RequestInfo call, AccessToken token, boolean optional, MetadataApplier applier) {
    boolean safe =
        call.getSecurityLevel() == SecurityLevel.PRIVACY_AND_INTEGRITY
            || Destination.isLoopback(call.getTransportAttrs().get(Grpc.TRANSPORT_ATTR_REMOTE_ADDR));
    if (!safe && optional) {
      applier.apply(new Metadata());
      return;
    }
    if (!safe) {
      applier.fail(NoToken.plaintextRefused().status());
      return;
    }
    var headers = new Metadata();
    headers.put(AUTHORIZATION, token.header());
    applier.apply(headers);
  }
}
