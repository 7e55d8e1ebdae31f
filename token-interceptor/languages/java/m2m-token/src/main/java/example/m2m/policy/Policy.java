package example.m2m.policy;

import com.google.protobuf.Descriptors;
import io.grpc.ServiceDescriptor;
import io.grpc.protobuf.ProtoFileDescriptorSupplier;
import io.grpc.protobuf.ProtoServiceDescriptorSupplier;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeSet;
import java.util.function.Predicate;

/** The policy of every served method. A method without a policy is denied. */
public final class Policy {
  /** The health service (gRPC health checking protocol), which load balancers call without a token. */
  private static final String HEALTH = "grpc.health.v1.Health";

  private static final Map<String, MethodPolicy> HEALTH_METHODS =
      Map.of(
          "/" + HEALTH + "/Check", health("Check", false),
          "/" + HEALTH + "/List", health("List", false),
          "/" + HEALTH + "/Watch", health("Watch", true));

  private final Map<String, MethodPolicy> methods;

  private Policy(Map<String, MethodPolicy> methods) {
    this.methods = Collections.unmodifiableMap(methods);
  }

  private static MethodPolicy health(String method, boolean streaming) {
    String path = "/" + HEALTH + "/" + method;
    return new MethodPolicy(path, HEALTH, MethodPolicy.Access.PUBLIC, Optional.empty(), false, streaming);
  }

  /**
   * Reads the policy from the linked-in descriptors of the served services.
   *
   * @param services the registered services
   * @param opened full service names, or paths of methods, which the program opens although nothing in their
   *     {@code .proto} files says so
   * @param clientsAreKnown for an audience, true if a client ID alone identifies the caller
   * @throws PolicyException when a method has no policy, an annotation is wrong, or a service is not
   *     described
   */
  public static Policy of(
      Collection<ServiceDescriptor> services, Set<String> opened, Predicate<String> clientsAreKnown) {
    var faults = new TreeSet<String>();
    // Load balancers ask before they know if the service is there.
    var methods = new HashMap<>(HEALTH_METHODS);
    for (ServiceDescriptor service : services) {
      Optional<Descriptors.ServiceDescriptor> described = described(service);
      if (described.isEmpty() || described.get().getMethods().isEmpty()) {
        faults.add(service.getName() + ": its descriptor is not linked in");
        continue;
      }
      var found = new ArrayList<String>();
      for (MethodPolicy method : Annotations.of(described.get(), found)) {
        methods.put(method.path(), opened(method, service.getName(), opened));
      }
      faults.addAll(found);
    }
    for (MethodPolicy method : methods.values()) {
      if (method.access() == MethodPolicy.Access.UNDECLARED) {
        faults.add(method.path() + ": is served without a policy");
      }
      boolean namesCallers = method.requirement().map(demand -> !demand.callers().isEmpty()).orElse(false);
      if (namesCallers && !clientsAreKnown.test(method.audience())) {
        faults.add(
            method.path() + ": names callers, and several issuers speak for \"" + method.audience()
                + "\": give each TrustedIssuer its clients");
      }
    }
    for (String name : opened) {
      if (methods.keySet().stream().noneMatch(path -> path.equals(name) || path.startsWith("/" + name + "/"))) {
        faults.add(name + ": is opened, but there is no such service or method");
      }
    }
    if (!faults.isEmpty()) {
      throw new PolicyException(List.copyOf(faults));
    }
    return new Policy(methods);
  }

  private static MethodPolicy opened(MethodPolicy method, String service, Set<String> opened) {
    boolean health = service.equals(HEALTH) && method.access() == MethodPolicy.Access.UNDECLARED;
    return health || opened.contains(service) || opened.contains(method.path()) ? method.opened() : method;
  }

  /** Returns the linked-in descriptor of a service, if it is one of Protobuf. */
  public static Optional<Descriptors.ServiceDescriptor> described(ServiceDescriptor service) {
    Object schema = service.getSchemaDescriptor();
    if (schema instanceof ProtoServiceDescriptorSupplier supplier) {
      return Optional.of(supplier.getServiceDescriptor());
    }
    if (schema instanceof ProtoFileDescriptorSupplier supplier) {
      return supplier.getFileDescriptor().getServices().stream()
          .filter(described -> described.getFullName().equals(service.getName()))
          .findFirst();
    }
    return Optional.empty();
  }

  /** Returns the policy of the method at {@code path}, compared byte for byte. */
  public Optional<MethodPolicy> method(String path) {
    return Optional.ofNullable(methods.get(path));
  }

  /** Returns every scope that a method demands, for registering clients. */
  public Set<String> scopes() {
    var scopes = new TreeSet<String>();
    for (MethodPolicy method : methods.values()) {
      method.requirement().ifPresent(
          demand -> {
            scopes.addAll(demand.allScopes());
            scopes.addAll(demand.anyScopes());
          });
    }
    return scopes;
  }
}
