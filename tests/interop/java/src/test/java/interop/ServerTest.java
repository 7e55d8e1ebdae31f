package interop;

import static interop.World.channel;
import static interop.World.env;
import static interop.World.refused;
import static interop.World.tokens;
import static java.nio.charset.StandardCharsets.UTF_8;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.rpc.ErrorInfo;
import inventory.v1.Inventory.DeleteItemRequest;
import inventory.v1.Inventory.GetItemRequest;
import inventory.v1.Inventory.GetItemResponse;
import inventory.v1.Inventory.GetOpeningHoursRequest;
import inventory.v1.Inventory.GetOpeningHoursResponse;
import inventory.v1.Inventory.Item;
import inventory.v1.Inventory.ListItemsRequest;
import inventory.v1.Inventory.ListItemsResponse;
import inventory.v1.InventoryServiceGrpc;
import inventory.v1.InventoryServiceGrpc.InventoryServiceBlockingStub;
import io.grpc.Grpc;
import io.grpc.Metadata;
import io.grpc.Server;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.TlsServerCredentials;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.MetadataUtils;
import io.grpc.stub.StreamObserver;
import java.io.File;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** A Java server that verifies our tokens with Nimbus. */
class ServerTest {
  private Server server;

  @AfterEach
  void close() {
    World.close();
    server.shutdownNow();
  }

  /** The inventory service as a Java server: TLS, and one verifier for every method. */
  private static final class Inventory extends InventoryServiceGrpc.InventoryServiceImplBase {
    @Override
    public void getOpeningHours(
        GetOpeningHoursRequest request, StreamObserver<GetOpeningHoursResponse> answer) {
      answer.onNext(GetOpeningHoursResponse.newBuilder().setHours("around the clock").build());
      answer.onCompleted();
    }

    @Override
    public void listItems(ListItemsRequest request, StreamObserver<ListItemsResponse> answer) {
      answer.onNext(ListItemsResponse.newBuilder().setItem(Item.newBuilder().setName("served by Java")).build());
      answer.onCompleted();
    }

    @Override
    public void getItem(GetItemRequest request, StreamObserver<GetItemResponse> answer) {
      var caller = TokenVerifier.CALLER.get();
      answer.onNext(
          GetItemResponse.newBuilder()
              .setItem(Item.newBuilder().setName("served by Java"))
              .setAskedBy(caller.getClaim("client_id").toString())
              .build());
      answer.onCompleted();
    }
  }

  private InventoryServiceBlockingStub serve(String audience) throws Exception {
    return serve(
        audience,
        Map.of(
            InventoryServiceGrpc.getGetItemMethod().getFullMethodName(), "inventory.read",
            InventoryServiceGrpc.getDeleteItemMethod().getFullMethodName(), "inventory.write"));
  }

  private InventoryServiceBlockingStub serve(String audience, Map<String, String> scopes) throws Exception {
    var verifier = TokenVerifier.ofJwks(env("TOKEN_ISSUER"), audience, World.http(), scopes);
    var tls = TlsServerCredentials.create(new File(env("TOKEN_TLS_CERTIFICATE")), new File(env("TOKEN_TLS_KEY")));
    server =
        Grpc.newServerBuilderForPort(0, tls).addService(new Inventory()).intercept(verifier).build().start();
    return InventoryServiceGrpc.newBlockingStub(channel("localhost:" + server.getPort()))
        .withDeadlineAfter(20, TimeUnit.SECONDS);
  }

  @Test
  void takesOurTokensAndAsksForTheScope() throws Exception {
    var service = serve(World.AUDIENCE).withCallCredentials(tokens());
    var answer = service.getItem(GetItemRequest.getDefaultInstance());
    assertEquals(env("TOKEN_CLIENT_ID"), answer.getAskedBy());
    refused(
        Status.Code.PERMISSION_DENIED, () -> service.deleteItem(DeleteItemRequest.getDefaultInstance()));
  }

  @Test
  void aMethodWithoutAPolicyIsRefused() throws Exception {
    var service = serve(World.AUDIENCE).withCallCredentials(tokens());
    refused(
        Status.Code.PERMISSION_DENIED, () -> service.listItems(ListItemsRequest.getDefaultInstance()).next());
  }

  @Test
  void refusesATokenForAnotherAudience() throws Exception {
    var service = serve("elsewhere").withCallCredentials(tokens());
    refused(Status.Code.UNAUTHENTICATED, () -> service.getItem(GetItemRequest.getDefaultInstance()));
  }

  @Test
  void refusesEverythingElse() throws Exception {
    var service = serve(World.AUDIENCE);
    String token = tokens().header().get(10, TimeUnit.SECONDS).substring("Bearer ".length());
    String unsigned = token.substring(0, token.lastIndexOf('.'));
    var authorization = Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);
    var good = new Metadata();
    good.put(authorization, "Bearer " + token);
    service
        .withInterceptors(MetadataUtils.newAttachHeadersInterceptor(good))
        .getItem(GetItemRequest.getDefaultInstance());
    for (List<String> values :
        List.of(
            List.<String>of(),
            List.of("Basic " + token),
            List.of("Bearer " + token, "Bearer " + token),
            List.of("Bearer " + unsigned + "."),
            List.of("Bearer " + unsigned + "." + "A".repeat(86)),
            List.of("Bearer something"),
            List.of("Bearer " + token.toLowerCase(java.util.Locale.ROOT)))) {
      var bad = new Metadata();
      values.forEach(value -> bad.put(authorization, value));
      var forged = service.withInterceptors(MetadataUtils.newAttachHeadersInterceptor(bad));
      refused(Status.Code.UNAUTHENTICATED, () -> forged.getItem(GetItemRequest.getDefaultInstance()));
    }
  }

  /** Runs the Rust example client: allowed, denied, and the reasons. */
  @Test
  void theRustClientOfAJavaServer() throws Exception {
    serve(
        World.AUDIENCE,
        Map.of(
            InventoryServiceGrpc.getGetItemMethod().getFullMethodName(), "inventory.read",
            InventoryServiceGrpc.getListItemsMethod().getFullMethodName(), "inventory.read",
            InventoryServiceGrpc.getDeleteItemMethod().getFullMethodName(), "inventory.write",
            InventoryServiceGrpc.getGetOpeningHoursMethod().getFullMethodName(), TokenVerifier.PUBLIC));
    var url = "https://localhost:" + server.getPort();
    var orders =
        new ProcessBuilder(env("ORDERS"), "--seconds", "0", "--inventory", url)
            .redirectErrorStream(true)
            .start();
    String told = new String(orders.getInputStream().readAllBytes(), UTF_8);
    assertEquals(0, orders.waitFor(), told);
    assertTrue(told.contains("served by Java, asked by orders"), told);
    var denied = "PERMISSION_DENIED SCOPE_INSUFFICIENT, missing scope: inventory.write";
    assertTrue(told.contains("DeleteItem with a token for inventory.read: " + denied), told);
  }

  @Test
  void saysWhyItRefuses() throws Exception {
    var service = serve(World.AUDIENCE);
    var authorization = Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);
    for (var sent : Map.of("", "CREDENTIALS_MISSING", "Bearer a.b.c", "TOKEN_INVALID").entrySet()) {
      var headers = new Metadata();
      if (!sent.getKey().isEmpty()) {
        headers.put(authorization, sent.getKey());
      }
      var asked = service.withInterceptors(MetadataUtils.newAttachHeadersInterceptor(headers));
      var error =
          assertThrows(
              StatusRuntimeException.class, () -> asked.getItem(GetItemRequest.getDefaultInstance()));
      var info = StatusProto.fromThrowable(error).getDetails(0).unpack(ErrorInfo.class);
      assertEquals(sent.getValue(), info.getReason());
      var challenge = Metadata.Key.of("www-authenticate", Metadata.ASCII_STRING_MARSHALLER);
      assertTrue(error.getTrailers().get(challenge).startsWith("Bearer"));
    }
  }
}
