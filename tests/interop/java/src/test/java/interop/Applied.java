package interop;

import io.grpc.Attributes;
import io.grpc.CallCredentials;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.SecurityLevel;
import io.grpc.Status;
import example.m2m.token.v1.TokenServiceGrpc;

/** The result of call credentials for one call. */
final class Applied extends CallCredentials.MetadataApplier {
  private Metadata metadata;
  private Status failure;

  /** Applies the credentials to a call on such a connection. */
  static Applied by(CallCredentials credentials, SecurityLevel level) {
    var applied = new Applied();
    credentials.applyRequestMetadata(new Call(level), Runnable::run, applied);
    return applied;
  }

  /** The header of the call, or null. */
  String header() {
    return metadata == null ? null : metadata.get(Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER));
  }

  /** The failure of the call, or null. */
  Status.Code failure() {
    return failure == null ? null : failure.getCode();
  }

  @Override
  public void apply(Metadata headers) {
    metadata = headers;
  }

  @Override
  public void fail(Status status) {
    failure = status;
  }

  private static final class Call extends CallCredentials.RequestInfo {
    private final SecurityLevel level;

    Call(SecurityLevel level) {
      this.level = level;
    }

    @Override
    public MethodDescriptor<?, ?> getMethodDescriptor() {
      return TokenServiceGrpc.getIssueTokenMethod();
    }

    @Override
    public SecurityLevel getSecurityLevel() {
      return level;
    }

    @Override
    public String getAuthority() {
      return "localhost";
    }

    @Override
    public Attributes getTransportAttrs() {
      return Attributes.EMPTY;
    }
  }
}
