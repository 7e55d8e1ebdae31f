package example.m2m.client;

import com.google.protobuf.Descriptors;
import example.m2m.policy.Annotations;
import example.m2m.policy.MethodPolicy;
import example.m2m.policy.Policy;
import example.m2m.policy.PolicyException;
import example.m2m.policy.Requirement;
import io.grpc.MethodDescriptor;
import io.grpc.ServiceDescriptor;
import io.grpc.protobuf.ProtoMethodDescriptorSupplier;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.Function;

/** The token of each method, read from the annotations in the descriptor of the called method. */
final class Routes {
  /**
   * The needs of one method's calls.
   *
   * @param token none where the calls need no token
   * @param optional true if the method accepts a call without a token too
   * @param replayable true if a call may be sent again after a refusal before its handler ran
   */
  record Route(Optional<FreshToken> token, boolean optional, boolean replayable) {}

  private final Map<String, Route> byMethod = new ConcurrentHashMap<>();
  private final Map<String, TokenRequest> shared;
  private final Function<TokenRequest, FreshToken> tokens;

  Routes(Map<String, TokenRequest> shared, Function<TokenRequest, FreshToken> tokens) {
    this.shared = Map.copyOf(shared);
    this.tokens = tokens;
  }

  /** Returns the needs of a method. It is looked up once. */
  Route of(MethodDescriptor<?, ?> method) {
    Route route = byMethod.get(method.getFullMethodName());
    if (route == null) {
      route = resolve(method);
      // A method that no descriptor describes may be a name of the caller's making.
      if (route.token().isPresent() || method.getSchemaDescriptor() != null) {
        byMethod.putIfAbsent(method.getFullMethodName(), route);
      }
    }
    return route;
  }

  private Route resolve(MethodDescriptor<?, ?> method) {
    Optional<Descriptors.MethodDescriptor> described = described(method);
    Optional<MethodPolicy> policy = described.map(Routes::policy);
    Optional<TokenRequest> request = policy.flatMap(this::request);
    boolean optional = policy.map(found -> found.access() == MethodPolicy.Access.IDENTIFY).orElse(false);
    boolean unary = described.map(found -> !found.isClientStreaming() && !found.isServerStreaming()).orElse(false);
    return new Route(request.map(tokens), optional, unary);
  }

  private static Optional<Descriptors.MethodDescriptor> described(MethodDescriptor<?, ?> method) {
    return method.getSchemaDescriptor() instanceof ProtoMethodDescriptorSupplier supplier
        ? Optional.of(supplier.getMethodDescriptor())
        : Optional.empty();
  }

  private static MethodPolicy policy(Descriptors.MethodDescriptor method) {
    var faults = new ArrayList<String>();
    MethodPolicy policy = Annotations.of(method, faults);
    if (!faults.isEmpty()) {
      throw new PolicyException(faults);
    }
    return policy;
  }

  /** A token is not sent to a service whose policy does not ask for one. */
  private Optional<TokenRequest> request(MethodPolicy method) {
    return method.requirement()
        .map(demand -> shared.getOrDefault(method.path(), askedFor(method.audience(), demand)));
  }

  /**
   * Requests exactly what the method demands. Of alternative scopes it requests only the first, as one is
   * enough.
   */
  private static TokenRequest askedFor(String audience, Requirement demand) {
    var scopes = new ArrayList<>(demand.allScopes());
    if (!demand.anyScopes().isEmpty() && demand.anyScopes().stream().noneMatch(scopes::contains)) {
      scopes.add(demand.anyScopes().get(0));
    }
    String[] distinct = scopes.stream().distinct().toArray(String[]::new);
    return TokenRequest.forAudience(audience, distinct).withMaxAge(demand.maxTokenAge());
  }

  /**
   * Returns the requests of methods that share one token for each audience, by their path.
   *
   * @param services the services of the methods
   * @param patterns paths, or prefixes and a final {@code *}
   * @throws IllegalArgumentException when a pattern matches no method that demands a token
   */
  static Map<String, TokenRequest> shared(List<ServiceDescriptor> services, List<String> patterns) {
    var requests = new HashMap<String, TokenRequest>();
    for (ServiceDescriptor service : services) {
      var described =
          Policy.described(service)
              .orElseThrow(() -> new IllegalArgumentException(service.getName() + " is not described"));
      for (Descriptors.MethodDescriptor method : described.getMethods()) {
        MethodPolicy policy = policy(method);
        policy.requirement().ifPresent(demand -> requests.put(policy.path(), askedFor(policy.audience(), demand)));
      }
    }
    for (String pattern : patterns) {
      if (requests.keySet().stream().noneMatch(path -> Requirement.matches(pattern, path))) {
        throw new IllegalArgumentException(pattern + " names no method that demands a token");
      }
    }
    requests.keySet().removeIf(path -> patterns.stream().noneMatch(one -> Requirement.matches(one, path)));
    var unions = new HashMap<Optional<String>, TokenRequest>();
    requests.values().forEach(request -> unions.merge(request.audience(), request, TokenRequest::union));
    requests.replaceAll((path, request) -> unions.get(request.audience()));
    return requests;
  }
}
