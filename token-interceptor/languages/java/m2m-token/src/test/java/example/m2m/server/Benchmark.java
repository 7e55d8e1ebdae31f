package example.m2m.server;

import example.m2m.client.StaticToken;
import example.m2m.client.Tokens;
import example.m2m.verify.TestIssuer;
import example.m2m.verify.Verifier;
import inventory.v1.Inventory.GetItemRequest;
import inventory.v1.Inventory.GetItemResponse;
import inventory.v1.InventoryServiceGrpc;
import inventory.v1.InventoryServiceGrpc.InventoryServiceBlockingStub;
import io.grpc.ClientInterceptor;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.InsecureServerCredentials;
import io.grpc.Metadata;
import io.grpc.ServerBuilder;
import io.grpc.stub.MetadataUtils;
import io.grpc.stub.StreamObserver;
import java.lang.management.ManagementFactory;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * The cost of both layers beside that of an echo.
 *
 * <p>Measures unary calls over loopback: the plain echo, with the server layer, and with the client layer. Each round
 * has all three, in turn. Prints processor time of the whole process, in microseconds per call, for {@code ../bench}.
 */
public final class Benchmark {
  private static final int CALLS = 200;
  private static final int WARM_UP = 50;
  private static final Duration LIFETIME = Duration.ofHours(1);

  private Benchmark() {}

  public static void main(String[] arguments) throws Exception {
    var issuer = new TestIssuer();
    String token = issuer.token("inventory", "inventory.read", Instant.now(), LIFETIME);
    var verifier = Verifier.builder().issuer(issuer.trusted()).build();
    String plain = serve(Grpc.newServerBuilderForPort(0, InsecureServerCredentials.create()));
    String guarded =
        serve(
            Authorization.of(verifier)
                .around(Grpc.newServerBuilderForPort(0, InsecureServerCredentials.create())));
    var headers = new Metadata();
    headers.put(Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER), "Bearer " + token);
    // Every call sends the same header, so that only the layers differ.
    var header = MetadataUtils.newAttachHeadersInterceptor(headers);
    var ways =
        List.of(
            stub(plain, header),
            stub(guarded, header),
            stub(plain, Tokens.of(StaticToken.of(token)).interceptor()));
    for (int warm = 0; warm < WARM_UP; warm++) {
      ways.forEach(Benchmark::perCall);
    }
    var rounds = new ArrayList<String>();
    int count = Integer.parseInt(System.getenv().getOrDefault("BENCH_ROUNDS", "151"));
    for (int round = 0; round < count; round++) {
      var cost = new double[ways.size()];
      for (int turn = 0; turn < cost.length; turn++) {
        int which = (round + turn) % cost.length;
        cost[which] = perCall(ways.get(which));
      }
      rounds.add(Arrays.toString(cost));
    }
    System.out.println("{\"rounds\": " + rounds + ", \"new_token\": " + newToken(issuer) + "}");
    System.exit(0);
  }

  private static String serve(ServerBuilder<?> builder) throws Exception {
    var service =
        new InventoryServiceGrpc.InventoryServiceImplBase() {
          @Override
          public void getItem(GetItemRequest request, StreamObserver<GetItemResponse> answer) {
            answer.onNext(GetItemResponse.getDefaultInstance());
            answer.onCompleted();
          }
        };
    return "localhost:" + builder.addService(service).build().start().getPort();
  }

  private static InventoryServiceBlockingStub stub(String address, ClientInterceptor interceptor) {
    var channel = Grpc.newChannelBuilder(address, InsecureChannelCredentials.create()).build();
    return InventoryServiceGrpc.newBlockingStub(channel).withInterceptors(interceptor);
  }

  private static double perCall(InventoryServiceBlockingStub stub) {
    return perOperation(CALLS, () -> stub.getItem(GetItemRequest.getDefaultInstance()));
  }

  /** Returns microseconds of processor time. */
  private static double perOperation(int operations, Runnable operation) {
    long began = processorTime();
    for (int count = 0; count < operations; count++) {
      operation.run();
    }
    return (processorTime() - began) / 1e3 / operations;
  }

  /** Returns the time of all Java threads. The time of the process is counted in steps of 10 ms. */
  private static long processorTime() {
    var threads = ManagementFactory.getThreadMXBean();
    return Arrays.stream(threads.getAllThreadIds()).map(threads::getThreadCpuTime).filter(time -> time > 0).sum();
  }

  /** Returns the cost of the verification of a token that was not seen before. */
  private static double newToken(TestIssuer issuer) throws Exception {
    var verifier = Verifier.builder().issuer(issuer.trusted()).build();
    var tokens = new ArrayList<String>();
    for (int count = 0; count < CALLS * WARM_UP; count++) {
      tokens.add(issuer.token("inventory", "inventory.read", Instant.now(), LIFETIME.plusSeconds(count)));
    }
    var next = tokens.iterator();
    Runnable verify =
        () -> {
          if (verifier.attempt(next.next(), "inventory").token().isEmpty()) {
            throw new IllegalStateException("a valid token was refused");
          }
        };
    perOperation(CALLS * (WARM_UP - 1), verify);
    return perOperation(CALLS, verify);
  }
}
