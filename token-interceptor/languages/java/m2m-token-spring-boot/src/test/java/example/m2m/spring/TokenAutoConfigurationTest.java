package example.m2m.spring;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import example.m2m.client.Tokens;
import example.m2m.policy.PolicyException;
import inventory.v1.Inventory.GetItemRequest;
import inventory.v1.Inventory.GetOpeningHoursRequest;
import inventory.v1.Inventory.GetOpeningHoursResponse;
import inventory.v1.InventoryServiceGrpc;
import io.grpc.ManagedChannel;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.inprocess.InProcessChannelBuilder;
import io.grpc.inprocess.InProcessServerBuilder;
import io.grpc.stub.StreamObserver;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.EnableAutoConfiguration;
import org.springframework.context.ConfigurableApplicationContext;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;

/** A Spring Boot application with a gRPC server in this process. */
class TokenAutoConfigurationTest {
  /** An application without a line about tokens. */
  @Configuration(proxyBeanMethods = false)
  @EnableAutoConfiguration
  static class Application {
    @Bean
    InventoryServiceGrpc.InventoryServiceImplBase inventory() {
      return new InventoryServiceGrpc.InventoryServiceImplBase() {
        @Override
        public void getOpeningHours(
            GetOpeningHoursRequest request, StreamObserver<GetOpeningHoursResponse> answer) {
          answer.onNext(GetOpeningHoursResponse.getDefaultInstance());
          answer.onCompleted();
        }
      };
    }
  }

  private static ConfigurableApplicationContext start(String name, String... properties) {
    var arguments = new ArrayList<>(List.of(properties));
    arguments.add("--spring.grpc.server.inprocess.name=" + name);
    arguments.add("--spring.main.web-application-type=none");
    arguments.add("--spring.main.banner-mode=off");
    return SpringApplication.run(Application.class, arguments.toArray(String[]::new));
  }

  private static StatusRuntimeException refused(InventoryServiceGrpc.InventoryServiceBlockingStub stub) {
    return assertThrows(
        StatusRuntimeException.class, () -> stub.getItem(GetItemRequest.getDefaultInstance()));
  }

  @Test
  void threePropertiesProtectTheServerAndBringTokens() {
    String name = InProcessServerBuilder.generateName();
    try (var context =
        start(
            name,
            "--m2m.token.issuer=https://issuer.invalid",
            "--m2m.token.client-id=orders",
            "--m2m.token.client-secret=a-secret",
            "--spring.grpc.server.reflection.enabled=false")) {
      ManagedChannel channel = InProcessChannelBuilder.forName(name).build();
      var stub = InventoryServiceGrpc.newBlockingStub(channel);
      stub.getOpeningHours(GetOpeningHoursRequest.getDefaultInstance());
      assertEquals(Status.Code.UNAUTHENTICATED, refused(stub).getStatus().getCode());
      assertEquals(1, context.getBeanNamesForType(Tokens.class).length);
      assertFalse(context.getBean(TokenProperties.class).toString().contains("a-secret"));
      channel.shutdownNow();
    }
  }

  @Test
  void reflectionIsClosedUnlessThePropertiesOpenIt() {
    String name = InProcessServerBuilder.generateName();
    Throwable failed =
        assertThrows(RuntimeException.class, () -> start(name, "--m2m.token.issuer=https://issuer.invalid"));
    while (failed != null && !(failed instanceof PolicyException)) {
      failed = failed.getCause();
    }
    assertTrue(failed != null && failed.getMessage().contains("ServerReflection"));
    start(
            InProcessServerBuilder.generateName(),
            "--m2m.token.issuer=https://issuer.invalid",
            "--m2m.token.open=grpc.reflection.v1.ServerReflection")
        .close();
  }

  @Test
  void withoutAnIssuerNothingIsConfigured() {
    String name = InProcessServerBuilder.generateName();
    try (var context = start(name)) {
      ManagedChannel channel = InProcessChannelBuilder.forName(name).build();
      assertEquals(
          Status.Code.UNIMPLEMENTED,
          refused(InventoryServiceGrpc.newBlockingStub(channel)).getStatus().getCode());
      assertTrue(context.isActive());
      channel.shutdownNow();
    }
  }
}
