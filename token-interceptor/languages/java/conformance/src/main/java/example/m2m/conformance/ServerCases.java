package example.m2m.conformance;

import com.google.protobuf.Any;
import com.google.protobuf.Timestamp;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import example.m2m.conformance.v1.Caller;
import example.m2m.conformance.v1.Refusal;
import example.m2m.conformance.v1.ServerCase;
import example.m2m.conformance.v1.ServerResult;
import example.m2m.policy.PolicyException;
import example.m2m.server.Authorization;
import example.m2m.server.Decision;
import example.m2m.status.Answer;
import example.m2m.status.Mark;
import example.m2m.verify.Actor;
import example.m2m.verify.Algorithm;
import example.m2m.verify.KeySet;
import example.m2m.verify.Revocations;
import example.m2m.verify.TrustedIssuer;
import example.m2m.verify.Verifier;
import io.grpc.CallOptions;
import io.grpc.ClientCall;
import io.grpc.HandlerRegistry;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Server;
import io.grpc.ServerCall;
import io.grpc.ServerCallHandler;
import io.grpc.ServerMethodDefinition;
import io.grpc.ServerServiceDefinition;
import io.grpc.Status;
import io.grpc.inprocess.InProcessChannelBuilder;
import io.grpc.inprocess.InProcessServerBuilder;
import io.grpc.protobuf.StatusProto;
import java.io.IOException;
import java.time.Duration;
import java.time.Instant;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;

/** Server cases: a server in this process, with the layer around it, and one call. */
final class ServerCases {
  private static final Metadata.Key<String> AUTHORIZATION =
      Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);
  private static final int CALL_SECONDS_MAX = 20;

  private final ServerCase testCase;
  private final AtomicReference<Decision> decision = new AtomicReference<>();
  private final AtomicReference<Caller> handled = new AtomicReference<>();

  private ServerCases(ServerCase testCase) {
    this.testCase = testCase;
  }

  static ServerResult run(ServerCase testCase) throws Exception {
    return new ServerCases(testCase).run();
  }

  private ServerResult run() throws Exception {
    var services = new Dynamic(testCase.getDescriptors());
    Server server;
    try (Verifier verifier = verifier()) {
      try {
        server = server(services, verifier);
      } catch (PolicyException fault) {
        return ServerResult.newBuilder().setStartError(fault.getMessage()).build();
      }
      try {
        return result(call(services, server));
      } finally {
        server.shutdownNow();
      }
    }
  }

  private Verifier verifier() {
    Timestamp now = testCase.getNow();
    var builder =
        Verifier.builder()
            .timeline(new Simulation(Instant.ofEpochSecond(now.getSeconds(), now.getNanos()), 0.5));
    for (var issuer : testCase.getIssuersList()) {
      var revocations = new Revocations();
      testCase.getRevokedTokenIdsList().forEach(id -> revocations.revokeToken(id, Instant.MAX));
      var trusted = TrustedIssuer.fetched(issuer.getIssuer(), () -> keys(issuer)).revocations(revocations);
      if (issuer.getAlgorithmsCount() > 0) {
        trusted.algorithms(
            issuer.getAlgorithmsList().stream().map(name -> Algorithm.of(name).orElseThrow()).toList());
      }
      builder.issuer(trusted);
    }
    return builder.build();
  }

  private static CompletableFuture<KeySet> keys(example.m2m.conformance.v1.TrustedIssuer issuer) {
    return issuer.getUnreachable()
        ? CompletableFuture.failedFuture(new IOException("unreachable"))
        : CompletableFuture.completedFuture(KeySet.ofJwkSet(issuer.getJwks().toByteArray()));
  }

  private Server server(Dynamic services, Verifier verifier) throws IOException {
    var authorization = Authorization.of(verifier).record(decision::set);
    if (testCase.getObserve()) {
      authorization.observe();
    }
    String name = InProcessServerBuilder.generateName();
    var builder = authorization.around(InProcessServerBuilder.forName(name).directExecutor());
    for (String service : testCase.getServicesList()) {
      var described = services.described(service);
      var definition = ServerServiceDefinition.builder(described);
      for (MethodDescriptor<?, ?> method : described.getMethods()) {
        definition.addMethod(Dynamic.ofBytes(method), new Handler());
      }
      builder.addService(definition.build());
    }
    return builder.fallbackHandlerRegistry(new EveryMethod(services)).build().start();
  }

  /** The handler of every method that no service has: so the layer alone decides. */
  private final class EveryMethod extends HandlerRegistry {
    private final Dynamic services;

    EveryMethod(Dynamic services) {
      this.services = services;
    }

    @Override
    public ServerMethodDefinition<?, ?> lookupMethod(String name, String authority) {
      return ServerMethodDefinition.create(services.method("/" + name), new Handler());
    }
  }

  /** The handler: it tells its caller, and answers with marks that the layer has to remove. */
  private final class Handler implements ServerCallHandler<byte[], byte[]> {
    @Override
    public ServerCall.Listener<byte[]> startCall(ServerCall<byte[], byte[]> call, Metadata headers) {
      handled.set(example.m2m.server.Caller.current().map(ServerCases::caller).orElse(Caller.getDefaultInstance()));
      call.request(1);
      return new ServerCall.Listener<>() {
        @Override
        public void onHalfClose() {
          call.sendHeaders(new Metadata());
          call.sendMessage(new byte[0]);
          var trailers = new Metadata();
          testCase.getHandlerMarksList().forEach(mark -> trailers.put(Mark.KEY, mark));
          call.close(Status.OK, trailers);
        }
      };
    }
  }

  private record Closed(Status status, Metadata trailers) {}

  private Closed call(Dynamic services, Server server) throws Exception {
    String name = server.getListenSockets().get(0).toString();
    ManagedChannel channel = InProcessChannelBuilder.forName(name).directExecutor().build();
    var closed = new CompletableFuture<Closed>();
    try {
      var headers = new Metadata();
      testCase.getAuthorizationList().forEach(value -> headers.put(AUTHORIZATION, value));
      ClientCall<byte[], byte[]> call =
          channel.newCall(services.method(testCase.getMethod()), CallOptions.DEFAULT);
      call.start(
          new ClientCall.Listener<>() {
            @Override
            public void onClose(Status status, Metadata trailers) {
              closed.complete(new Closed(status, trailers));
            }
          },
          headers);
      call.request(2);
      call.sendMessage(new byte[0]);
      call.halfClose();
      return closed.get(CALL_SECONDS_MAX, TimeUnit.SECONDS);
    } finally {
      channel.shutdownNow();
    }
  }

  private ServerResult result(Closed closed) throws IOException {
    var result = ServerResult.newBuilder().addAllMarks(Mark.values(closed.trailers));
    if (handled.get() == null) {
      return result.setRefused(refusal(closed.status, closed.trailers)).build();
    }
    result.setAllowed(handled.get());
    Optional<Answer> refused = Optional.ofNullable(decision.get()).flatMap(Decision::refusal);
    if (testCase.getObserve() && refused.isPresent()) {
      result.setWouldDeny(refusal(refused.get().status(), refused.get().trailers()));
    }
    return result.build();
  }

  private static Caller caller(example.m2m.server.Caller caller) {
    return Caller.newBuilder()
        .setIssuer(caller.issuer())
        .setSubject(caller.subject())
        .setClientId(caller.clientId())
        .setTokenId(caller.token().tokenId())
        .addAllScopes(caller.scopes())
        .setExpiresAt(Timestamp.newBuilder().setSeconds(caller.expiresAt().getEpochSecond()))
        .addAllActors(caller.actors().stream().map(Actor::subject).toList())
        .build();
  }

  private static Refusal refusal(Status status, Metadata trailers) throws IOException {
    var refusal = Refusal.newBuilder().setCode(status.getCode().value());
    for (Any detail : StatusProto.fromStatusAndTrailers(status, trailers).getDetailsList()) {
      if (detail.is(ErrorInfo.class)) {
        ErrorInfo info = detail.unpack(ErrorInfo.class);
        refusal.setReason(info.getReason()).setDomain(info.getDomain()).putAllMetadata(info.getMetadataMap());
      }
      if (detail.is(RetryInfo.class)) {
        refusal.setHasRetryInfo(true);
      }
    }
    Optional.ofNullable(trailers.get(Answer.CHALLENGE)).ifPresent(refusal::setWwwAuthenticate);
    return refusal.build();
  }
}
