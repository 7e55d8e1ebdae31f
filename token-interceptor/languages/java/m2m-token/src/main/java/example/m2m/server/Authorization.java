package example.m2m.server;

import example.m2m.policy.Policy;
import example.m2m.verify.Verifier;
import io.grpc.HandlerRegistry;
import io.grpc.ServerBuilder;
import io.grpc.ServerServiceDefinition;
import io.grpc.ServiceDescriptor;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.function.Consumer;

/**
 * The settings of the server layer.
 *
 * <p>The policy is taken from the descriptors of the registered services. A server does not start if one of
 * its methods has no policy. The health service is callable without a token; reflection is not, unless the
 * program says so by
 * {@link #open}.
 *
 * <p>Handlers read the caller with {@link Caller#current()}. A stream ends within a second of its token's
 * expiry or revocation.
 */
public final class Authorization {
  private final Verifier verifier;
  private final Set<String> opened = new HashSet<>();
  private Consumer<Decision> recorder = decision -> {};
  private boolean observing;

  private Authorization(Verifier verifier) {
    this.verifier = verifier;
  }

  /** Returns settings for tokens that {@code verifier} accepts. */
  public static Authorization of(Verifier verifier) {
    return new Authorization(verifier);
  }

  /**
   * Opens services or methods that no token is needed for, although nothing in their {@code .proto} files
   * says so. A name is a service's full name, such as {@code grpc.reflection.v1.ServerReflection}, or a path,
   * {@code /package.Service/Method}.
   */
  public Authorization open(String... names) {
    opened.addAll(List.of(names));
    return this;
  }

  /** Observes only: the layer decides, records the decision, and lets every call pass. For the first days. */
  public Authorization observe() {
    observing = true;
    return this;
  }

  /** Passes each decision to {@code consumer}, which must not block. It replaces the former one. */
  public Authorization record(Consumer<Decision> consumer) {
    recorder = consumer;
    return this;
  }

  /**
   * Wraps a server. Add the services to the returned builder.
   *
   * <p>The layer is the outermost interceptor, and answers calls of unknown methods too.
   */
  public ServerBuilder<?> around(ServerBuilder<?> server) {
    return new AuthorizedServerBuilder(server, this);
  }

  /**
   * Puts the layer around a server that a framework builds. Call it once all other interceptors are added.
   *
   * @param server the builder, with its services
   * @param services the services that were added
   * @throws example.m2m.policy.PolicyException when the policy does not fit the services
   */
  public void protect(ServerBuilder<?> server, Collection<ServerServiceDefinition> services) {
    protect(server, services, new AuthorizedServerBuilder.NoServices());
  }

  /** The interceptor that is added last runs first. */
  void protect(
      ServerBuilder<?> server, Collection<ServerServiceDefinition> services, HandlerRegistry fallback) {
    var all = new ArrayList<>(services);
    all.addAll(fallback.getServices());
    List<ServiceDescriptor> described =
        all.stream().map(ServerServiceDefinition::getServiceDescriptor).toList();
    Policy policy = Policy.of(described, opened, verifier::clientIdsAreUnique);
    server.intercept(new AuthorizationInterceptor(new Judge(verifier, policy), recorder, observing));
    server.fallbackHandlerRegistry(new AuthorizedServerBuilder.EveryMethod(fallback));
  }
}
