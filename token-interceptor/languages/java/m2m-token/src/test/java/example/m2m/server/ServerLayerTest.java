package example.m2m.server;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.Any;
import com.google.rpc.ErrorInfo;
import example.m2m.internal.SystemTimeline;
import example.m2m.internal.Timeline;
import example.m2m.policy.PolicyException;
import example.m2m.status.Mark;
import example.m2m.verify.Revocations;
import example.m2m.verify.TestIssuer;
import example.m2m.verify.Verifier;
import inventory.v1.Inventory.GetItemRequest;
import inventory.v1.Inventory.GetItemResponse;
import inventory.v1.Inventory.GetOpeningHoursRequest;
import inventory.v1.Inventory.GetOpeningHoursResponse;
import inventory.v1.Inventory.ListItemsRequest;
import inventory.v1.Inventory.ListItemsResponse;
import inventory.v1.InventoryServiceGrpc;
import inventory.v1.InventoryServiceGrpc.InventoryServiceBlockingStub;
import io.grpc.CallOptions;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.InsecureServerCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.Server;
import io.grpc.ServerBuilder;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.health.v1.HealthCheckRequest;
import io.grpc.health.v1.HealthGrpc;
import io.grpc.protobuf.StatusProto;
import io.grpc.protobuf.services.HealthStatusManager;
import io.grpc.protobuf.services.ProtoReflectionServiceV1;
import io.grpc.stub.ClientCalls;
import io.grpc.stub.MetadataUtils;
import io.grpc.stub.ServerCallStreamObserver;
import io.grpc.stub.StreamObserver;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** The server layer around a real server on loopback. */
class ServerLayerTest {
  private static final Metadata.Key<String> AUTHORIZATION =
      Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);

  private final Ahead clock = new Ahead();
  private final Revocations revocations = new Revocations();
  private final List<Decision> decisions = new ArrayList<>();
  private TestIssuer issuer;
  private Server server;
  private ManagedChannel channel;

  @BeforeEach
  void issuer() throws Exception {
    issuer = new TestIssuer();
  }

  @AfterEach
  void close() {
    if (channel != null) {
      channel.shutdownNow();
      server.shutdownNow();
    }
  }

  /** The machine's clocks, of which a test can set the wall clock. */
  private static final class Ahead implements Timeline {
    private volatile Duration ahead = Duration.ZERO;

    @Override
    public long nanos() {
      return SystemTimeline.INSTANCE.nanos();
    }

    @Override
    public Instant wall() {
      return SystemTimeline.INSTANCE.wall().plus(ahead);
    }

    @Override
    public double draw() {
      return SystemTimeline.INSTANCE.draw();
    }

    @Override
    public Runnable at(long nanos, Runnable task) {
      return SystemTimeline.INSTANCE.at(nanos, task);
    }
  }

  /** The service of the tests. */
  private static class Inventory extends InventoryServiceGrpc.InventoryServiceImplBase {
    private final CompletableFuture<Void> cancelled = new CompletableFuture<>();

    @Override
    public void getItem(GetItemRequest request, StreamObserver<GetItemResponse> answer) {
      String asked = Caller.current().map(Caller::clientId).orElse("an unknown client");
      answer.onNext(GetItemResponse.newBuilder().setAskedBy(asked).build());
      answer.onCompleted();
    }

    @Override
    public void listItems(ListItemsRequest request, StreamObserver<ListItemsResponse> answer) {
      ((ServerCallStreamObserver<ListItemsResponse>) answer).setOnCancelHandler(() -> cancelled.complete(null));
      answer.onNext(ListItemsResponse.getDefaultInstance());
    }

    @Override
    public void getOpeningHours(GetOpeningHoursRequest request, StreamObserver<GetOpeningHoursResponse> answer) {
      var trailers = new Metadata();
      trailers.put(Mark.KEY, "before-handler /inventory.v1.InventoryService/GetOpeningHours");
      answer.onError(Status.UNAUTHENTICATED.asRuntimeException(trailers));
    }
  }

  private Authorization authorization() {
    var verifier =
        Verifier.builder().timeline(clock).issuer(issuer.trusted().revocations(revocations)).build();
    return Authorization.of(verifier).record(decisions::add);
  }

  private static ServerBuilder<?> builder() {
    return Grpc.newServerBuilderForPort(0, InsecureServerCredentials.create());
  }

  private void serve(ServerBuilder<?> builder) throws Exception {
    server = builder.build().start();
    channel =
        Grpc.newChannelBuilder("localhost:" + server.getPort(), InsecureChannelCredentials.create()).build();
  }

  private InventoryServiceBlockingStub stub(String... authorization) {
    var headers = new Metadata();
    for (String value : authorization) {
      headers.put(AUTHORIZATION, value);
    }
    return InventoryServiceGrpc.newBlockingStub(channel)
        .withInterceptors(MetadataUtils.newAttachHeadersInterceptor(headers))
        .withDeadlineAfter(20, TimeUnit.SECONDS);
  }

  private String bearer(String scope, Duration lifetime) throws Exception {
    return "Bearer " + issuer.token("inventory", scope, Instant.now(), lifetime);
  }

  private static ErrorInfo info(StatusRuntimeException error) throws Exception {
    for (Any detail : StatusProto.fromThrowable(error).getDetailsList()) {
      if (detail.is(ErrorInfo.class)) {
        return detail.unpack(ErrorInfo.class);
      }
    }
    throw new AssertionError("no ErrorInfo in " + error);
  }

  private static StatusRuntimeException refused(Runnable call) {
    return assertThrows(StatusRuntimeException.class, call::run);
  }

  @Test
  void theHandlerKnowsItsCaller() throws Exception {
    serve(authorization().around(builder()).addService(new Inventory()));
    var answer = stub(bearer("inventory.read", Duration.ofMinutes(5))).getItem(GetItemRequest.getDefaultInstance());
    assertEquals("orders", answer.getAskedBy());
    assertEquals("orders", decisions.get(0).caller().orElseThrow().clientId());
  }

  @Test
  void aRefusalHasReasonChallengeAndMark() throws Exception {
    serve(authorization().around(builder()).addService(new Inventory()));
    var missing = refused(() -> stub().getItem(GetItemRequest.getDefaultInstance()));
    assertEquals("CREDENTIALS_MISSING", info(missing).getReason());
    assertEquals(List.of(), Mark.values(missing.getTrailers()));
    var invalid = refused(() -> stub("Bearer a.b.c").getItem(GetItemRequest.getDefaultInstance()));
    assertEquals("TOKEN_INVALID", info(invalid).getReason());
    assertEquals(
        List.of("before-handler /inventory.v1.InventoryService/GetItem"), Mark.values(invalid.getTrailers()));
    String other = bearer("inventory.other", Duration.ofMinutes(5));
    var scope = refused(() -> stub(other).getItem(GetItemRequest.getDefaultInstance()));
    assertEquals(Status.Code.PERMISSION_DENIED, scope.getStatus().getCode());
    assertEquals("inventory.read", info(scope).getMetadataOrThrow("scope"));
  }

  @Test
  void aHandlersMarkDoesNotLeaveTheServer() throws Exception {
    serve(authorization().around(builder()).addService(new Inventory()));
    var error = refused(() -> stub().getOpeningHours(GetOpeningHoursRequest.getDefaultInstance()));
    assertEquals(List.of(), Mark.values(error.getTrailers()));
  }

  @Test
  void anUnknownMethodIsRefusedByTheLayer() throws Exception {
    serve(authorization().around(builder()).addService(new Inventory()));
    var unknown =
        InventoryServiceGrpc.getGetItemMethod().toBuilder()
            .setFullMethodName("inventory.v1.InventoryService/getItem")
            .build();
    var error =
        refused(
            () ->
                ClientCalls.blockingUnaryCall(
                    channel, unknown, CallOptions.DEFAULT, GetItemRequest.getDefaultInstance()));
    assertEquals("METHOD_NOT_DECLARED", info(error).getReason());
  }

  @Test
  void healthIsPublicAndReflectionIsNot() throws Exception {
    serve(authorization().around(builder()).addService(new HealthStatusManager().getHealthService()));
    HealthGrpc.newBlockingStub(channel).check(HealthCheckRequest.getDefaultInstance());
    var closed = authorization().around(builder()).addService(ProtoReflectionServiceV1.newInstance());
    var error = assertThrows(PolicyException.class, closed::build);
    assertTrue(error.getMessage().contains("ServerReflectionInfo"), error.getMessage());
    authorization()
        .open("grpc.reflection.v1.ServerReflection")
        .around(builder())
        .addService(ProtoReflectionServiceV1.newInstance())
        .build();
  }

  @Test
  void whatIsOpenedMustBeServed() {
    var typo = authorization().open("grpc.reflection.v1.Reflection").around(builder()).addService(new Inventory());
    assertThrows(PolicyException.class, typo::build);
  }

  @Test
  void anObservingLayerRecordsAndLetsPass() throws Exception {
    serve(authorization().observe().around(builder()).addService(new Inventory()));
    assertEquals(
        "an unknown client", stub().getItem(GetItemRequest.getDefaultInstance()).getAskedBy());
    assertEquals("CREDENTIALS_MISSING", decisions.get(0).refusal().orElseThrow().reasonName());
    assertTrue(decisions.get(0).observed());
  }

  @Test
  void aStreamEndsWithItsToken() throws Exception {
    var inventory = new Inventory();
    serve(authorization().around(builder()).addService(inventory));
    String token = bearer("inventory.read", Duration.ofMinutes(5));
    var items = stub(token).listItems(ListItemsRequest.getDefaultInstance());
    items.next();
    clock.ahead = Duration.ofMinutes(6);
    var error = assertThrows(StatusRuntimeException.class, items::hasNext);
    assertEquals("TOKEN_EXPIRED", info(error).getReason());
    assertEquals(
        List.of("after-handler /inventory.v1.InventoryService/ListItems"), Mark.values(error.getTrailers()));
    inventory.cancelled.get(10, TimeUnit.SECONDS);
  }

  @Test
  void aStreamEndsWithinASecondOfARevocation() throws Exception {
    serve(authorization().around(builder()).addService(new Inventory()));
    var items =
        stub(bearer("inventory.read", Duration.ofMinutes(5))).listItems(ListItemsRequest.getDefaultInstance());
    items.next();
    long began = System.nanoTime();
    revocations.revokeToken("token-1", Instant.now().plusSeconds(300));
    var error = assertThrows(StatusRuntimeException.class, items::hasNext);
    assertEquals("TOKEN_REVOKED", info(error).getReason());
    assertTrue(System.nanoTime() - began < Duration.ofSeconds(10).toNanos(), "a loaded machine gets some more");
  }

  @Test
  void aCallerIsPrintedWithoutItsToken() throws Exception {
    var verifier = Verifier.builder().issuer(issuer.trusted()).build();
    String token = issuer.token("inventory", "a", Instant.now(), Duration.ofMinutes(5));
    var caller = new Caller(verifier.verify(token, "inventory"), token);
    assertFalse(caller.toString().contains(token));
    assertTrue(caller.toString().contains("token-1"));
  }
}
