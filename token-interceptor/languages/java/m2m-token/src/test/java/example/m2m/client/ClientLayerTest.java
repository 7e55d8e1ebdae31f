package example.m2m.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import example.m2m.server.Authorization;
import example.m2m.server.Caller;
import example.m2m.verify.Revocations;
import example.m2m.verify.TestIssuer;
import example.m2m.verify.Verifier;
import inventory.v1.Inventory.DeleteItemRequest;
import inventory.v1.Inventory.DeleteItemResponse;
import inventory.v1.Inventory.GetItemRequest;
import inventory.v1.Inventory.GetItemResponse;
import inventory.v1.Inventory.GetOpeningHoursRequest;
import inventory.v1.Inventory.GetOpeningHoursResponse;
import inventory.v1.InventoryServiceGrpc;
import inventory.v1.InventoryServiceGrpc.InventoryServiceBlockingStub;
import io.grpc.Attributes;
import io.grpc.CallCredentials;
import io.grpc.Context;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.InsecureServerCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.SecurityLevel;
import io.grpc.Server;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.MetadataUtils;
import io.grpc.stub.StreamObserver;
import java.net.InetSocketAddress;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** The client layer against a server with the server layer, on loopback. */
class ClientLayerTest {
  private final Revocations revocations = new Revocations();
  private final List<TokenRequest> requests = Collections.synchronizedList(new ArrayList<>());
  private TestIssuer issuer;
  private Server server;
  private ManagedChannel channel;

  /** The service of the tests. */
  private static final class Inventory extends InventoryServiceGrpc.InventoryServiceImplBase {
    @Override
    public void getItem(GetItemRequest request, StreamObserver<GetItemResponse> answer) {
      String asked = Caller.current().orElseThrow().token().tokenId();
      answer.onNext(GetItemResponse.newBuilder().setAskedBy(asked).build());
      answer.onCompleted();
    }

    @Override
    public void deleteItem(DeleteItemRequest request, StreamObserver<DeleteItemResponse> answer) {
      answer.onNext(DeleteItemResponse.getDefaultInstance());
      answer.onCompleted();
    }

    @Override
    public void getOpeningHours(GetOpeningHoursRequest request, StreamObserver<GetOpeningHoursResponse> answer) {
      answer.onNext(GetOpeningHoursResponse.getDefaultInstance());
      answer.onCompleted();
    }
  }

  @BeforeEach
  void serve() throws Exception {
    issuer = new TestIssuer();
    var verifier = Verifier.builder().issuer(issuer.trusted().revocations(revocations)).build();
    server =
        Authorization.of(verifier)
            .around(Grpc.newServerBuilderForPort(0, InsecureServerCredentials.create()))
            .addService(new Inventory())
            .build()
            .start();
    channel =
        Grpc.newChannelBuilder("localhost:" + server.getPort(), InsecureChannelCredentials.create()).build();
  }

  @AfterEach
  void close() {
    channel.shutdownNow();
    server.shutdownNow();
  }

  private CompletionStage<IssuedToken> issue(TokenRequest request) {
    requests.add(request);
    try {
      String token =
          issuer.token(
              request.audience().orElse(""), request.scopeParameter(), Instant.now(), Duration.ofMinutes(5));
      return CompletableFuture.completedFuture(
          new IssuedToken(AccessToken.of(token).orElseThrow(), Duration.ofMinutes(5), Optional.empty()));
    } catch (Exception failed) {
      return CompletableFuture.failedFuture(failed);
    }
  }

  private InventoryServiceBlockingStub stub(Tokens tokens) {
    return InventoryServiceGrpc.newBlockingStub(channel)
        .withInterceptors(tokens.interceptor())
        .withDeadlineAfter(20, TimeUnit.SECONDS);
  }

  @Test
  void eachMethodHasTheTokenThatItDemands() {
    var stub = stub(Tokens.of(this::issue));
    stub.getItem(GetItemRequest.getDefaultInstance());
    stub.getItem(GetItemRequest.getDefaultInstance());
    stub.deleteItem(DeleteItemRequest.getDefaultInstance());
    stub.getOpeningHours(GetOpeningHoursRequest.getDefaultInstance());
    assertEquals(
        List.of(
            TokenRequest.forAudience("inventory", "inventory.read"),
            TokenRequest.forAudience("inventory", "inventory.write")),
        requests);
  }

  @Test
  void namedMethodsShareAToken() {
    var tokens =
        Tokens.builder(this::issue)
            .sharing(List.of(InventoryServiceGrpc.getServiceDescriptor()), "/inventory.v1.InventoryService/*")
            .build();
    stub(tokens).getItem(GetItemRequest.getDefaultInstance());
    stub(tokens).deleteItem(DeleteItemRequest.getDefaultInstance());
    assertEquals(
        List.of(TokenRequest.forAudience("inventory", "inventory.read", "inventory.write")), requests);
    var builder = Tokens.builder(this::issue);
    assertThrows(
        IllegalArgumentException.class,
        () -> builder.sharing(List.of(InventoryServiceGrpc.getServiceDescriptor()), "/inventory.v1.Typo/*"));
  }

  @Test
  void aRevokedTokenIsReplacedAndTheCallSentAgain() {
    var stub = stub(Tokens.of(this::issue));
    assertEquals("token-1", stub.getItem(GetItemRequest.getDefaultInstance()).getAskedBy());
    revocations.revokeToken("token-1", Instant.now().plusSeconds(300));
    assertEquals("token-2", stub.getItem(GetItemRequest.getDefaultInstance()).getAskedBy());
    assertEquals(2, requests.size());
  }

  @Test
  void callCredentialsReadTheSameAnnotations() {
    var stub =
        InventoryServiceGrpc.newBlockingStub(channel)
            .withCallCredentials(Tokens.of(this::issue).callCredentials())
            .withDeadlineAfter(20, TimeUnit.SECONDS);
    assertEquals("token-1", stub.getItem(GetItemRequest.getDefaultInstance()).getAskedBy());
    stub.getOpeningHours(GetOpeningHoursRequest.getDefaultInstance());
    assertEquals(1, requests.size());
  }

  @Test
  void aRefusalOfTheIssuerIsTheCallsFailure() {
    var refused =
        SourceException.refused(Refusal.CLIENT_AUTHENTICATION, "invalid_client: no such client");
    var stub = stub(Tokens.of(request -> CompletableFuture.failedFuture(refused)));
    var error =
        assertThrows(
            StatusRuntimeException.class, () -> stub.getItem(GetItemRequest.getDefaultInstance()));
    assertEquals(Status.Code.UNAUTHENTICATED, error.getStatus().getCode());
    assertTrue(error.getMessage().contains("invalid_client"), error.getMessage());
  }

  @Test
  void aCallsOwnAuthorizationIsKept() throws Exception {
    var headers = new Metadata();
    String token = issuer.token("inventory", "inventory.read", Instant.now(), Duration.ofMinutes(5));
    headers.put(OneToken.AUTHORIZATION, "Bearer " + token);
    var stub =
        InventoryServiceGrpc.newBlockingStub(channel)
            .withInterceptors(
                Tokens.of(this::issue).interceptor(), MetadataUtils.newAttachHeadersInterceptor(headers));
    assertEquals("token-1", stub.getItem(GetItemRequest.getDefaultInstance()).getAskedBy());
    assertEquals(List.of(), requests);
  }

  @Test
  void onBehalfOfACallerItsTokenIsExchanged() throws Exception {
    String token = issuer.token("orders", "orders.read", "a-user", Instant.now(), Duration.ofMinutes(5));
    var verifier = Verifier.builder().issuer(issuer.trusted()).build();
    var stub = stub(Tokens.builder(this::issue).onBehalfOfCaller().build());
    var alone =
        assertThrows(
            StatusRuntimeException.class, () -> stub.getItem(GetItemRequest.getDefaultInstance()));
    assertEquals(Status.Code.FAILED_PRECONDITION, alone.getStatus().getCode());
    Caller caller = example.m2m.server.Callers.of(verifier, token, "orders");
    Context.current()
        .withValue(Caller.KEY, caller)
        .run(() -> stub.getItem(GetItemRequest.getDefaultInstance()));
    assertEquals(Optional.of(token), requests.get(0).subjectToken());
    assertFalse(requests.get(0).toString().contains(token));
  }

  private static Optional<Status> applied(SecurityLevel level, String address) {
    var failed = new CompletableFuture<Status>();
    apply(level, address, false, failed);
    return Optional.ofNullable(failed.join());
  }

  /** Applies a token. Completes {@code outcome} with the failure, or with null for headers with a token. */
  private static void apply(
      SecurityLevel level, String address, boolean optional, CompletableFuture<Status> outcome) {
    var call =
        new CallCredentials.RequestInfo() {
          @Override
          public MethodDescriptor<?, ?> getMethodDescriptor() {
            return InventoryServiceGrpc.getGetItemMethod();
          }

          @Override
          public SecurityLevel getSecurityLevel() {
            return level;
          }

          @Override
          public String getAuthority() {
            return "inventory.example";
          }

          @Override
          public Attributes getTransportAttrs() {
            return Attributes.newBuilder()
                .set(Grpc.TRANSPORT_ATTR_REMOTE_ADDR, new InetSocketAddress(address, 443))
                .build();
          }
        };
    new OneToken(AccessToken.of("a").orElseThrow(), optional)
        .applyRequestMetadata(
            call,
            Runnable::run,
            new CallCredentials.MetadataApplier() {
              @Override
              public void apply(Metadata headers) {
                outcome.complete(headers.containsKey(OneToken.AUTHORIZATION) ? null : Status.OK);
              }

              @Override
              public void fail(Status status) {
                outcome.complete(status);
              }
            });
  }

  @Test
  void aCallThatNeedsNoTokenIsAnonymousInPlaintextToAnotherMachine() {
    var outcome = new CompletableFuture<Status>();
    apply(SecurityLevel.NONE, "192.0.2.1", true, outcome);
    assertEquals(Status.OK, outcome.join());
  }

  @Test
  void noTokenIsSentInPlaintextToAnotherMachine() {
    assertEquals(Optional.empty(), applied(SecurityLevel.PRIVACY_AND_INTEGRITY, "192.0.2.1"));
    assertEquals(Optional.empty(), applied(SecurityLevel.NONE, "127.0.0.1"));
    var refused = applied(SecurityLevel.NONE, "192.0.2.1").orElseThrow();
    assertEquals(Status.Code.FAILED_PRECONDITION, refused.getCode());
    assertThrows(
        IllegalArgumentException.class,
        () -> Issuer.grpc("issuer.example:443", InsecureChannelCredentials.create()));
    assertThrows(IllegalArgumentException.class, () -> Issuer.http("http://issuer.example"));
  }
}
