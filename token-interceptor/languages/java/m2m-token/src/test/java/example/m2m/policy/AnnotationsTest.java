package example.m2m.policy;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.DescriptorProtos.FileDescriptorProto;
import com.google.protobuf.Descriptors.FileDescriptor;
import com.google.protobuf.UnknownFieldSet;
import example.m2m.auth.v1.AnnotationsProto;
import example.m2m.auth.v1.MethodAuthorization;
import inventory.v1.Inventory;
import inventory.v1.InventoryServiceGrpc;
import io.grpc.ServiceDescriptor;
import io.grpc.protobuf.ProtoServiceDescriptorSupplier;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.UnaryOperator;
import org.junit.jupiter.api.Test;

/** The policy follows the annotations, with no other edit. */
class AnnotationsTest {
  private static final String GET_ITEM = "/inventory.v1.InventoryService/GetItem";

  /** Returns the inventory service with another annotation of its first method. */
  private static com.google.protobuf.Descriptors.ServiceDescriptor changed(
      UnaryOperator<MethodAuthorization.Builder> change) throws Exception {
    FileDescriptorProto.Builder file = Inventory.getDescriptor().toProto().toBuilder();
    var options = file.getServiceBuilder(0).getMethodBuilder(0).getOptionsBuilder();
    options.setExtension(AnnotationsProto.method, change.apply(MethodAuthorization.newBuilder()).build());
    var imports = Inventory.getDescriptor().getDependencies().toArray(new FileDescriptor[0]);
    return FileDescriptor.buildFrom(file.build(), imports).getServices().get(0);
  }

  private record Schema(com.google.protobuf.Descriptors.ServiceDescriptor service)
      implements ProtoServiceDescriptorSupplier {
    @Override
    public FileDescriptor getFileDescriptor() {
      return service.getFile();
    }

    @Override
    public com.google.protobuf.Descriptors.ServiceDescriptor getServiceDescriptor() {
      return service;
    }
  }

  private static Policy policy(com.google.protobuf.Descriptors.ServiceDescriptor service) {
    var described =
        ServiceDescriptor.newBuilder(service.getFullName()).setSchemaDescriptor(new Schema(service)).build();
    return Policy.of(List.of(described), Set.of(), audience -> false);
  }

  @Test
  void theLinkedInDescriptorsAreThePolicy() {
    var policy = Policy.of(List.of(InventoryServiceGrpc.getServiceDescriptor()), Set.of(), audience -> true);
    var method = policy.method(GET_ITEM).orElseThrow();
    assertEquals("inventory", method.audience());
    assertEquals(List.of("inventory.read"), method.requirement().orElseThrow().allScopes());
    assertEquals(Set.of("inventory.read", "inventory.write"), policy.scopes());
    assertTrue(policy.method(GET_ITEM.toLowerCase()).isEmpty());
  }

  @Test
  void oneChangedAnnotationChangesThePolicy() throws Exception {
    var service = changed(method -> method.setRequire(method.getRequireBuilder().addAllScopes("inventory.audit")));
    var method = policy(service).method(GET_ITEM).orElseThrow();
    assertEquals(List.of("inventory.audit"), method.requirement().orElseThrow().allScopes());
    var opened = policy(changed(method2 -> method2.setPublic(true))).method(GET_ITEM).orElseThrow();
    assertEquals(MethodPolicy.Access.PUBLIC, opened.access());
  }

  private static example.m2m.auth.v1.Requirement claim(String name, String... values) {
    var claim = example.m2m.auth.v1.ClaimRequirement.newBuilder().setClaim(name).addAllValues(List.of(values));
    return example.m2m.auth.v1.Requirement.newBuilder().addClaims(claim).build();
  }

  @Test
  void aClaimIsOneOfTheValuesOrAListWithOne() throws Exception {
    var read = policy(changed(method -> method.setRequire(claim("tenant", "acme", "globex"))));
    var tenant = read.method(GET_ITEM).orElseThrow().requirement().orElseThrow().claims().get(0);
    assertTrue(tenant.allows(Map.of("tenant", "globex")));
    assertTrue(tenant.allows(Map.of("tenant", List.of("initech", "acme"))));
    for (Object value : List.of("initech", List.of(), List.of(List.of("acme")), Map.of("acme", "acme"), true)) {
      assertFalse(tenant.allows(Map.of("tenant", value)), value.toString());
    }
    assertFalse(tenant.allows(Map.of()));
    var deep = new ClaimRequirement("/a~1b/0/~0", List.of("x"));
    assertTrue(deep.allows(Map.of("a/b", List.of(Map.of("~", "x")))));
    assertFalse(deep.allows(Map.of("a/b", List.of())));
    assertFalse(deep.allows(Map.of("/a~1b/0/~0", "x")));
  }

  @Test
  void anIdentifyingMethodAcceptsAnyTokenAndNone() throws Exception {
    var method = policy(changed(option -> option.setPublic(true).setIdentify(true))).method(GET_ITEM).orElseThrow();
    assertEquals(MethodPolicy.Access.IDENTIFY, method.access());
    assertEquals(Requirement.anyToken(), method.requirement().orElseThrow());
  }

  /** Returns a field of a later contract. */
  private static UnknownFieldSet later() {
    return UnknownFieldSet.newBuilder()
        .addField(1000, UnknownFieldSet.Field.newBuilder().addVarint(1).build())
        .build();
  }

  private static example.m2m.auth.v1.Requirement later(example.m2m.auth.v1.Requirement requirement) {
    var changed = requirement.toBuilder();
    changed.getClaimsBuilder(0).setUnknownFields(later());
    return changed.build();
  }

  @Test
  void everyFaultIsNamed() throws Exception {
    for (var change :
        List.<UnaryOperator<MethodAuthorization.Builder>>of(
            method -> method,
            method -> method.setPublic(true).setRequire(method.getRequireBuilder()),
            method -> method.setRequire(method.getRequireBuilder().addAllScopes("a b")),
            method -> method.setRequire(method.getRequireBuilder().addCallers("a*b")),
            method -> method.setIdentify(true),
            method -> method.setIdentify(true).setRequire(method.getRequireBuilder()),
            method -> method.setRequire(claim("tenant")),
            method -> method.setRequire(claim("", "a")),
            method -> method.setRequire(claim("scope", "a")),
            method -> method.setRequire(claim("/client_id", "a")),
            method -> method.setRequire(claim("appid", "a")),
            method -> method.setRequire(claim("/scp/0", "a")),
            method -> method.setPublic(true).setUnknownFields(later()),
            method -> method.setRequire(method.getRequireBuilder().setUnknownFields(later())),
            method -> method.setRequire(later(claim("tenant", "acme"))),
            method -> method.setRequire(claim("/a~b", "a")),
            method -> method.setRequire(method.getRequireBuilder().addCallers("a")))) {
      var service = changed(change);
      var error = assertThrows(PolicyException.class, () -> policy(service));
      assertTrue(error.faults().stream().allMatch(fault -> fault.contains("GetItem")), error.getMessage());
    }
  }

  @Test
  void aServiceWithoutADescriptorIsAFault() {
    var described = ServiceDescriptor.newBuilder("a.Service").build();
    var error =
        assertThrows(PolicyException.class, () -> Policy.of(List.of(described), Set.of(), audience -> true));
    assertEquals(new ArrayList<>(List.of("a.Service: its descriptor is not linked in")), error.faults());
  }
}
