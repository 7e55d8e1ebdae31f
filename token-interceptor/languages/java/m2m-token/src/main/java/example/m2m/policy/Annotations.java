package example.m2m.policy;

import com.google.protobuf.DescriptorProtos.MethodOptions;
import com.google.protobuf.DescriptorProtos.ServiceOptions;
import com.google.protobuf.Descriptors.FieldDescriptor;
import com.google.protobuf.Descriptors.MethodDescriptor;
import com.google.protobuf.Descriptors.ServiceDescriptor;
import com.google.protobuf.ExtensionRegistryLite;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Message;
import example.m2m.auth.v1.AnnotationsProto;
import example.m2m.auth.v1.MethodAuthorization;
import example.m2m.auth.v1.ServiceAuthorization;
import example.m2m.auth.v1.StreamExpiry;
import example.m2m.policy.MethodPolicy.Access;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.stream.Stream;

/** The reader of the annotations {@code m2m.auth.v1}. */
public final class Annotations {
  private static final ExtensionRegistryLite KNOWN = known();

  /** The fields of each message that this version enforces. */
  private static final Map<String, Set<String>> FIELDS =
      Map.of(
          "m2m.auth.v1.ServiceAuthorization", Set.of("audience", "default_requirement"),
          "m2m.auth.v1.MethodAuthorization", Set.of("public", "require", "identify"),
          "m2m.auth.v1.Requirement",
              Set.of("all_scopes", "any_scopes", "callers", "max_token_age", "stream_expiry", "claims"),
          "m2m.auth.v1.ClaimRequirement", Set.of("claim", "values"));

  private Annotations() {}

  private static ExtensionRegistryLite known() {
    var registry = ExtensionRegistryLite.newInstance();
    registry.add(AnnotationsProto.method);
    registry.add(AnnotationsProto.service);
    return registry.getUnmodifiable();
  }

  /**
   * Returns the policy of each method of {@code service}.
   *
   * @param faults receives every mistake in the annotations
   */
  public static List<MethodPolicy> of(ServiceDescriptor service, List<String> faults) {
    var policies = new ArrayList<MethodPolicy>();
    for (MethodDescriptor method : service.getMethods()) {
      policies.add(of(method, faults));
    }
    return policies;
  }

  /**
   * Returns the policy of {@code method}.
   *
   * @param faults receives every mistake in the annotations
   */
  public static MethodPolicy of(MethodDescriptor method, List<String> faults) {
    ServiceDescriptor service = method.getService();
    String path = "/" + service.getFullName() + "/" + method.getName();
    ServiceAuthorization ofService = declared(service, faults);
    String audience = ofService.getAudience().isEmpty() ? service.getFullName() : ofService.getAudience();
    Access access = Access.UNDECLARED;
    Optional<Requirement> requirement = Optional.empty();
    Optional<MethodAuthorization> ofMethod = declared(method, faults);
    unknownField(ofService).ifPresent(field -> faults.add(unknown(service.getFullName(), field)));
    ofMethod.flatMap(Annotations::unknownField).ifPresent(field -> faults.add(unknown(path, field)));
    if (ofMethod.isPresent() && ofMethod.get().getIdentify() && !ofMethod.get().getPublic()) {
      faults.add(path + ": identify is for public methods: declare public, and not require");
    }
    if (ofMethod.isEmpty()) {
      if (ofService.hasDefaultRequirement()) {
        access = Access.TOKEN;
        requirement = Optional.of(requirement(ofService.getDefaultRequirement(), service.getFullName(), faults));
      }
    } else if (ofMethod.get().hasRequire()) {
      if (ofMethod.get().getPublic()) {
        faults.add(path + ": is both public and requires a token: declare one of the two");
      }
      access = Access.TOKEN;
      requirement = Optional.of(requirement(ofMethod.get().getRequire(), path, faults));
    } else if (ofMethod.get().getPublic() && ofMethod.get().getIdentify()) {
      access = Access.IDENTIFY;
      requirement = Optional.of(Requirement.anyToken());
    } else if (ofMethod.get().getPublic()) {
      access = Access.PUBLIC;
    }
    return new MethodPolicy(
        path, audience, access, requirement, method.isClientStreaming(), method.isServerStreaming());
  }

  /**
   * The options are read anew from their bytes: a program may have been linked with another copy of the
   * annotations, or with none.
   */
  private static Optional<MethodAuthorization> declared(MethodDescriptor method, List<String> faults) {
    try {
      var options = MethodOptions.parseFrom(method.getOptions().toByteString(), KNOWN);
      return options.hasExtension(AnnotationsProto.method)
          ? Optional.of(options.getExtension(AnnotationsProto.method))
          : Optional.empty();
    } catch (InvalidProtocolBufferException malformed) {
      faults.add(method.getFullName() + ": its options cannot be read");
      return Optional.of(MethodAuthorization.getDefaultInstance());
    }
  }

  private static ServiceAuthorization declared(ServiceDescriptor service, List<String> faults) {
    try {
      var options = ServiceOptions.parseFrom(service.getOptions().toByteString(), KNOWN);
      return options.getExtension(AnnotationsProto.service);
    } catch (InvalidProtocolBufferException malformed) {
      faults.add(service.getFullName() + ": its options cannot be read");
      return ServiceAuthorization.getDefaultInstance();
    }
  }

  private static String unknown(String owner, String field) {
    return owner + ": the annotation has the field " + field + ", which this version of the package does not know";
  }

  /**
   * Returns a field that this version does not know, of the annotation or of a message in it. It may demand
   * more of a token. The generated classes may be those of a later contract, which a program has linked.
   */
  private static Optional<String> unknownField(Message message) {
    Set<String> known = FIELDS.get(message.getDescriptorForType().getFullName());
    var numbers = message.getUnknownFields().asMap().keySet().stream().map(number -> "number " + number);
    var names =
        message.getAllFields().keySet().stream()
            .map(FieldDescriptor::getName)
            .filter(name -> known != null && !known.contains(name));
    var nested =
        message.getAllFields().values().stream()
            .flatMap(value -> value instanceof List<?> items ? items.stream() : Stream.of(value))
            .filter(Message.class::isInstance)
            .flatMap(value -> unknownField((Message) value).stream());
    return Stream.of(numbers, names, nested).flatMap(found -> found).findFirst();
  }

  private static Requirement requirement(
      example.m2m.auth.v1.Requirement declared, String owner, List<String> faults) {
    var scopes = new ArrayList<String>(declared.getAllScopesList());
    scopes.addAll(declared.getAnyScopesList());
    for (String scope : scopes) {
      // RFC 6749 section 3.3: scope-token.
      if (scope.isEmpty() || !scope.chars().allMatch(c -> c > ' ' && c < 0x7f && c != '"' && c != '\\')) {
        faults.add(owner + ": \"" + scope + "\" is not a scope (RFC 6749 section 3.3)");
      }
    }
    for (String caller : declared.getCallersList()) {
      if (caller.isEmpty() || caller.indexOf('*') >= 0 && caller.indexOf('*') < caller.length() - 1) {
        faults.add(owner + ": caller \"" + caller + "\" must be a client ID, or a prefix and one final \"*\"");
      }
    }
    var claims = new ArrayList<ClaimRequirement>();
    for (var claim : declared.getClaimsList()) {
      var required = new ClaimRequirement(claim.getClaim(), claim.getValuesList());
      required.fault().ifPresent(fault -> faults.add(owner + ": " + fault));
      claims.add(required);
    }
    return new Requirement(
        declared.getAllScopesList(),
        declared.getAnyScopesList(),
        declared.getCallersList(),
        maxTokenAge(declared, owner, faults),
        declared.getStreamExpiry() == StreamExpiry.STREAM_EXPIRY_ALLOW,
        claims);
  }

  private static Optional<Duration> maxTokenAge(
      example.m2m.auth.v1.Requirement declared, String owner, List<String> faults) {
    if (!declared.hasMaxTokenAge()) {
      return Optional.empty();
    }
    var age = declared.getMaxTokenAge();
    if (age.getSeconds() < 0 || age.getNanos() < 0) {
      faults.add(owner + ": max_token_age is negative");
      return Optional.of(Duration.ZERO);
    }
    return Optional.of(Duration.ofSeconds(age.getSeconds(), age.getNanos()));
  }
}
