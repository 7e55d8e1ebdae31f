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
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Stream;

/**
 * The cost of both layers beside that of an echo.
 *
 * <p>Measures unary calls over loopback: the plain echo, with the server layer, and with the client layer.
 * Each round has all three, in turn. Prints processor time of the whole process, in microseconds per call,
 * for {@code ../bench}.
 */
public final class Benchmark {
  private static final int CALLS = 200;
  private static final int NEW_TOKENS = 50;
  private static final Path THREADS = Path.of("/proc/self/task");
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
    var newToken = new NewToken(issuer);
    for (int warm = 0; warm < WARM_UP; warm++) {
      newToken.perToken();
    }
    var newTokens = new ArrayList<Double>();
    int count = Integer.parseInt(System.getenv().getOrDefault("BENCH_ROUNDS", "151"));
    for (int round = 0; round < count; round++) {
      var cost = new double[ways.size()];
      for (int turn = 0; turn < cost.length; turn++) {
        int which = (round + turn) % cost.length;
        cost[which] = perCall(ways.get(which));
      }
      rounds.add(Arrays.toString(cost));
      newTokens.add(newToken.perToken());
    }
    System.out.println("{\"rounds\": " + rounds + ", \"new_token\": " + newTokens + "}");
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

  /**
   * Returns the time of all threads of the process, those of the collector and the compiler too. On Linux it
   * is exact. Elsewhere the system counts it in steps, often of 10 ms.
   */
  private static long processorTime() {
    if (!Files.isDirectory(THREADS)) {
      var system = (com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
      return system.getProcessCpuTime();
    }
    try (Stream<Path> threads = Files.list(THREADS)) {
      return threads.mapToLong(Benchmark::nanosOf).sum();
    } catch (IOException failed) {
      throw new UncheckedIOException(failed);
    }
  }

  private static long nanosOf(Path thread) {
    try {
      return Long.parseLong(Files.readString(thread.resolve("schedstat")).split(" ")[0]);
    } catch (IOException ended) {
      return 0;
    }
  }

  /** The verification of tokens that were not seen before. */
  private static final class NewToken {
    private final TestIssuer issuer;
    private final Verifier verifier;
    private long issued;

    NewToken(TestIssuer issuer) {
      this.issuer = issuer;
      this.verifier = Verifier.builder().issuer(issuer.trusted()).build();
    }

    /** Returns microseconds of processor time. To issue the tokens is not part of it. */
    double perToken() throws Exception {
      var tokens = new ArrayList<String>();
      for (int count = 0; count < NEW_TOKENS; count++) {
        tokens.add(issuer.token("inventory", "inventory.read", Instant.now(), LIFETIME.plusSeconds(issued++)));
      }
      var next = tokens.iterator();
      return perOperation(
          NEW_TOKENS,
          () -> {
            if (verifier.attempt(next.next(), "inventory").token().isEmpty()) {
              throw new IllegalStateException("a valid token was refused");
            }
          });
    }
  }
}
