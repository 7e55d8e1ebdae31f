package example.m2m.server;

import com.sun.management.OperatingSystemMXBean;
import example.m2m.client.StaticToken;
import example.m2m.client.Tokens;
import example.m2m.policy.Policy;
import example.m2m.verify.TestIssuer;
import example.m2m.verify.Verifier;
import inventory.v1.Inventory.GetItemRequest;
import inventory.v1.Inventory.GetItemResponse;
import inventory.v1.InventoryServiceGrpc;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptors;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.InsecureServerCredentials;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.stub.StreamObserver;
import java.lang.management.ManagementFactory;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.Locale;
import java.util.Set;

/** The cost of both layers beside that of an echo over loopback: processor time of one call, in microseconds. */
public final class Benchmark {
  private static final int ROUNDS = 5;
  private static final int ECHOES = 20_000;
  private static final int OPERATIONS = 1_000_000;

  private Benchmark() {}

  public static void main(String[] arguments) throws Exception {
    double echo = echo();
    double verify = verify();
    double attach = attach();
    System.out.printf(Locale.ROOT, "| | µs | of an echo |%n|---|---|---|%n");
    System.out.printf(Locale.ROOT, "| echo, both sides | %.1f | |%n", echo);
    System.out.printf(Locale.ROOT, "| verify a token seen before | %.2f | %.1f %% |%n", verify, 100 * verify / echo);
    System.out.printf(Locale.ROOT, "| attach | %.2f | %.1f %% |%n", attach, 100 * attach / echo);
  }

  /** Returns the least time of several rounds, in microseconds of this process for one operation. */
  private static double least(int operations, Runnable operation) {
    var system = (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
    double least = Double.MAX_VALUE;
    for (int round = 0; round < ROUNDS; round++) {
      long began = system.getProcessCpuTime();
      for (int count = 0; count < operations; count++) {
        operation.run();
      }
      least = Math.min(least, (system.getProcessCpuTime() - began) / 1e3 / operations);
    }
    return least;
  }

  private static double echo() throws Exception {
    var service =
        new InventoryServiceGrpc.InventoryServiceImplBase() {
          @Override
          public void getItem(GetItemRequest request, StreamObserver<GetItemResponse> answer) {
            answer.onNext(GetItemResponse.getDefaultInstance());
            answer.onCompleted();
          }
        };
    var server =
        Grpc.newServerBuilderForPort(0, InsecureServerCredentials.create()).addService(service).build().start();
    var channel =
        Grpc.newChannelBuilder("localhost:" + server.getPort(), InsecureChannelCredentials.create()).build();
    var stub = InventoryServiceGrpc.newBlockingStub(channel);
    double time = least(ECHOES, () -> stub.getItem(GetItemRequest.getDefaultInstance()));
    channel.shutdownNow();
    server.shutdownNow();
    return time;
  }

  private static double verify() throws Exception {
    var issuer = new TestIssuer();
    var verifier = Verifier.builder().issuer(issuer.trusted()).build();
    var policy = Policy.of(List.of(InventoryServiceGrpc.getServiceDescriptor()), Set.of(), audience -> true);
    var judge = new Judge(verifier, policy);
    String header = "Bearer " + issuer.token("inventory", "inventory.read", Instant.now(), Duration.ofHours(1));
    return least(
        OPERATIONS,
        () -> {
          // A server gets the header anew with each call, so that its hash is computed anew.
          var sent = List.of(new String(header.toCharArray()));
          var outcome = judge.decide("/inventory.v1.InventoryService/GetItem", sent);
          if (outcome.denied().isPresent()) {
            throw new IllegalStateException(outcome.denied().get());
          }
        });
  }

  private static double attach() throws Exception {
    String token = new TestIssuer().token("inventory", "inventory.read", Instant.now(), Duration.ofHours(1));
    var bare = new Nowhere();
    var channel = ClientInterceptors.intercept(bare, Tokens.of(StaticToken.of(token)).interceptor());
    return Math.max(0, least(OPERATIONS, () -> call(channel)) - least(OPERATIONS, () -> call(bare)));
  }

  private static void call(Channel channel) {
    ClientCall<GetItemRequest, GetItemResponse> call =
        channel.newCall(InventoryServiceGrpc.getGetItemMethod(), CallOptions.DEFAULT);
    call.start(new ClientCall.Listener<>() {}, new Metadata());
    call.request(2);
    call.sendMessage(GetItemRequest.getDefaultInstance());
    call.halfClose();
  }

  /** A channel that sends nothing. */
  private static final class Nowhere extends Channel {
    @Override
    public String authority() {
      return "localhost";
    }

    @Override
    public <Q, A> ClientCall<Q, A> newCall(MethodDescriptor<Q, A> method, CallOptions options) {
      return new ClientCall<>() {
        @Override
        public void start(Listener<A> listener, Metadata headers) {}

        @Override
        public void request(int messages) {}

        @Override
        public void cancel(String message, Throwable cause) {}

        @Override
        public void halfClose() {}

        @Override
        public void sendMessage(Q message) {}
      };
    }
  }
}
