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
import example.m2m.client.TokenRequest;
import example.m2m.token.v1.ClientAuthentication;
import example.m2m.token.v1.RevokeTokenRequest;
import example.m2m.token.v1.TokenServiceGrpc;
import example.m2m.server.Authorization;
import example.m2m.server.Caller;
import example.m2m.verify.TrustedIssuer;
import example.m2m.verify.Verifier;
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

/** A Java server behind the layer. */
class ServerTest {
  private Server server;

  @AfterEach
  void close() {
    World.close();
    server.shutdownNow();
  }

  /** The inventory service as a Java server: TLS, and one verifier for every method. */
  private static final class Inventory extends InventoryServiceGrpc.InventoryServiceImplBase {
    /** True if a list has no end. */
    private final boolean endless;

    Inventory(boolean endless) {
      this.endless = endless;
    }

    @Override
    public void getOpeningHours(
        GetOpeningHoursRequest request, StreamObserver<GetOpeningHoursResponse> answer) {
      answer.onNext(GetOpeningHoursResponse.newBuilder().setHours("around the clock").build());
      answer.onCompleted();
    }

    @Override
    public void listItems(ListItemsRequest request, StreamObserver<ListItemsResponse> answer) {
      answer.onNext(ListItemsResponse.newBuilder().setItem(Item.newBuilder().setName("served by Java")).build());
      if (!endless) {
        answer.onCompleted();
      }
    }

    @Override
    public void getItem(GetItemRequest request, StreamObserver<GetItemResponse> answer) {
      answer.onNext(
          GetItemResponse.newBuilder()
              .setItem(Item.newBuilder().setName("served by Java"))
              .setAskedBy(Caller.current().orElseThrow().clientId())
              .build());
      answer.onCompleted();
    }
  }

  private InventoryServiceBlockingStub serve() throws Exception {
    return serve(World.verifier(), false);
  }

  private InventoryServiceBlockingStub serve(Verifier verifier, boolean endless) throws Exception {
    var tls = TlsServerCredentials.create(new File(env("TOKEN_TLS_CERTIFICATE")), new File(env("TOKEN_TLS_KEY")));
    server =
        Authorization.of(verifier)
            .around(Grpc.newServerBuilderForPort(0, tls))
            .addService(new Inventory(endless))
            .build()
            .start();
    return InventoryServiceGrpc.newBlockingStub(channel("localhost:" + server.getPort()))
        .withDeadlineAfter(20, TimeUnit.SECONDS);
  }

  @Test
  void takesOurTokensAndDemandsTheScope() throws Exception {
    var service = serve().withInterceptors(tokens().interceptor());
    var answer = service.getItem(GetItemRequest.getDefaultInstance());
    assertEquals(env("TOKEN_CLIENT_ID"), answer.getAskedBy());
    service.getOpeningHours(GetOpeningHoursRequest.getDefaultInstance());
  }

  /** The token of a stream is revoked while it is open. The issuer pushes it. */
  @Test
  void aRevocationEndsAStreamAndTheNextCallHasAnotherToken() throws Exception {
    var toIssuer = channel(env("TOKEN_ISSUER").replace("https://", ""));
    try (var verifier = Verifier.builder().issuer(TrustedIssuer.watch(env("TOKEN_ISSUER"), toIssuer)).build()) {
      var tokens = tokens();
      var service = serve(verifier, true).withInterceptors(tokens.interceptor());
      var items = service.listItems(ListItemsRequest.getDefaultInstance());
      items.next();
      var token = tokens.token(TokenRequest.forAudience(World.AUDIENCE, "inventory.read")).get().expose();
      var client =
          ClientAuthentication.newBuilder()
              .setClientId(env("TOKEN_CLIENT_ID"))
              .setClientSecret(env("TOKEN_CLIENT_SECRET"));
      TokenServiceGrpc.newBlockingStub(toIssuer)
          .revokeToken(RevokeTokenRequest.newBuilder().setClient(client).setToken(token).build());
      var error = assertThrows(StatusRuntimeException.class, items::hasNext);
      var info = StatusProto.fromThrowable(error).getDetails(0).unpack(ErrorInfo.class);
      assertEquals("TOKEN_REVOKED", info.getReason());
      assertEquals(
          env("TOKEN_CLIENT_ID"), service.getItem(GetItemRequest.getDefaultInstance()).getAskedBy());
    }
  }

  @Test
  void refusesEverythingElse() throws Exception {
    var service = serve();
    var request = TokenRequest.forAudience(World.AUDIENCE, "inventory.read");
    String token = tokens().token(request).get(10, TimeUnit.SECONDS).expose();
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
    serve();
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
    var service = serve();
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
