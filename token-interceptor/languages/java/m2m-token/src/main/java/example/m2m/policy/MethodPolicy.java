package example.m2m.policy;

import java.util.Optional;

/**
 * The policy of one method.
 *
 * @param path {@code /package.Service/Method}, compared byte for byte
 * @param audience the {@code aud} that a token must have
 * @param access the access to the method
 * @param requirement the demand on a token, if {@code access} is {@link Access#TOKEN} or {@link
 *     Access#IDENTIFY}
 * @param clientStreaming true if the client sends a stream
 * @param serverStreaming true if the server sends a stream
 */
public record MethodPolicy(
    String path,
    String audience,
    Access access,
    Optional<Requirement> requirement,
    boolean clientStreaming,
    boolean serverStreaming) {

  /** The access to a method. */
  public enum Access {
    /** No annotation says anything, so every call is denied. */
    UNDECLARED,
    /** Without a token. */
    PUBLIC,
    /** With a token that meets the requirement. */
    TOKEN,
    /** Without a token. A token that comes is verified, so that the handler knows its caller. */
    IDENTIFY
  }

  /** Returns true if neither side sends a stream. */
  public boolean isUnary() {
    return !clientStreaming && !serverStreaming;
  }

  /** Returns the same method, callable without a token. */
  public MethodPolicy opened() {
    return new MethodPolicy(path, audience, Access.PUBLIC, Optional.empty(), clientStreaming, serverStreaming);
  }
}
