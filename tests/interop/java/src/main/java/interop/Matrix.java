package interop;

import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.ErrorInfo;
import example.m2m.client.ClientCredentials;
import example.m2m.client.Issuer;
import example.m2m.client.Tokens;
import example.m2m.server.Authorization;
import example.m2m.server.Caller;
import example.m2m.verify.TrustedIssuer;
import example.m2m.verify.Verifier;
import inventory.v1.Inventory.DeleteItemRequest;
import inventory.v1.Inventory.DeleteItemResponse;
import inventory.v1.Inventory.GetItemRequest;
import inventory.v1.Inventory.GetItemResponse;
import inventory.v1.Inventory.GetOpeningHoursRequest;
import inventory.v1.Inventory.GetOpeningHoursResponse;
import inventory.v1.Inventory.Item;
import inventory.v1.Inventory.ListItemsRequest;
import inventory.v1.Inventory.ListItemsResponse;
import inventory.v1.InventoryServiceGrpc;
import inventory.v1.InventoryServiceGrpc.InventoryServiceBlockingStub;
import io.grpc.ChannelCredentials;
import io.grpc.Grpc;
import io.grpc.StatusRuntimeException;
import io.grpc.TlsChannelCredentials;
import io.grpc.TlsServerCredentials;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.ServerCallStreamObserver;
import io.grpc.stub.StreamObserver;
import java.io.BufferedReader;
import java.io.File;
import java.io.IOException;
import java.io.InputStreamReader;
import java.util.Iterator;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;

/**
 * The Java program of the interop matrix: {@code Matrix server}, or {@code Matrix client HOST:PORT}. The
 * commands are documented in {@code tests/interop/matrix/run}.
 */
public final class Matrix {
  private Matrix() {}

  public static void main(String... arguments) throws Exception {
    var tls = TlsChannelCredentials.newBuilder().trustManager(new File(System.getenv("TOKEN_CA_FILE"))).build();
    String issuer = System.getenv("TOKEN_ISSUER");
    var input = new BufferedReader(new InputStreamReader(System.in));
    if (arguments[0].equals("server")) {
      serve(issuer, tls, input);
    } else {
      follow(issuer.replace("https://", ""), tls, arguments[1], input);
    }
    System.exit(0);
  }

  private static void serve(String issuer, ChannelCredentials tls, BufferedReader input) throws Exception {
    var channel = Grpc.newChannelBuilder(issuer.replace("https://", ""), tls).build();
    var verifier = Verifier.builder().issuer(TrustedIssuer.watch(issuer, channel)).build();
    var identity =
        TlsServerCredentials.create(
            new File(System.getenv("TOKEN_TLS_CERTIFICATE")), new File(System.getenv("TOKEN_TLS_KEY")));
    var server =
        Authorization.of(verifier)
            .around(Grpc.newServerBuilderForPort(0, identity))
            .addService(new Inventory())
            .build()
            .start();
    System.out.println("port " + server.getPort());
    while (input.readLine() != null) {}
  }

  private static final class Inventory extends InventoryServiceGrpc.InventoryServiceImplBase {
    private final ScheduledExecutorService ticks = Executors.newSingleThreadScheduledExecutor();

    /** An item that is named by the token of the call. */
    private static Item item() {
      return Item.newBuilder().setName(Caller.current().orElseThrow().bearer()).build();
    }

    @Override
    public void getItem(GetItemRequest request, StreamObserver<GetItemResponse> answer) {
      String client = Caller.current().orElseThrow().clientId();
      answer.onNext(GetItemResponse.newBuilder().setItem(item()).setAskedBy(client).build());
      answer.onCompleted();
    }

    @Override
    public void listItems(ListItemsRequest request, StreamObserver<ListItemsResponse> answer) {
      var message = ListItemsResponse.newBuilder().setItem(item()).build();
      var call = (ServerCallStreamObserver<ListItemsResponse>) answer;
      var sending = ticks.scheduleAtFixedRate(() -> call.onNext(message), 0, 100, TimeUnit.MILLISECONDS);
      call.setOnCancelHandler(() -> sending.cancel(false));
    }

    @Override
    public void deleteItem(DeleteItemRequest request, StreamObserver<DeleteItemResponse> answer) {
      answer.onNext(DeleteItemResponse.getDefaultInstance());
      answer.onCompleted();
    }

    @Override
    public void getOpeningHours(GetOpeningHoursRequest request, StreamObserver<GetOpeningHoursResponse> answer) {
      answer.onNext(GetOpeningHoursResponse.newBuilder().setHours("around the clock").build());
      answer.onCompleted();
    }
  }

  private static void follow(String issuer, ChannelCredentials tls, String address, BufferedReader input)
      throws IOException {
    var tokens =
        Tokens.of(
            ClientCredentials.secret(
                System.getenv("TOKEN_CLIENT_ID"), System.getenv("TOKEN_CLIENT_SECRET"), Issuer.grpc(issuer, tls)));
    var bare = InventoryServiceGrpc.newBlockingStub(Grpc.newChannelBuilder(address, tls).build());
    var calls = new Calls(bare, bare.withInterceptors(tokens.interceptor()));
    for (String line = input.readLine(); line != null; line = input.readLine()) {
      try {
        System.out.println("ok " + calls.run(line));
      } catch (StatusRuntimeException failed) {
        System.out.println("error " + failed.getStatus().getCode().value() + " " + reason(failed));
      }
    }
  }

  private static String reason(StatusRuntimeException failed) throws InvalidProtocolBufferException {
    for (var detail : StatusProto.fromThrowable(failed).getDetailsList()) {
      if (detail.is(ErrorInfo.class)) {
        return detail.unpack(ErrorInfo.class).getReason();
      }
    }
    return "none";
  }

  private static final class Calls {
    private final InventoryServiceBlockingStub bare;
    private final InventoryServiceBlockingStub ours;
    private Iterator<ListItemsResponse> stream;

    Calls(InventoryServiceBlockingStub bare, InventoryServiceBlockingStub ours) {
      this.bare = bare;
      this.ours = ours;
    }

    private static String described(GetItemResponse answer) {
      return answer.getAskedBy() + " " + answer.getItem().getName();
    }

    String run(String command) {
      switch (command) {
        case "bare":
          return described(bare.getItem(GetItemRequest.getDefaultInstance()));
        case "hours":
          return ours.getOpeningHours(GetOpeningHoursRequest.getDefaultInstance()).getHours();
        case "get":
          return described(ours.getItem(GetItemRequest.getDefaultInstance()));
        case "delete":
          ours.deleteItem(DeleteItemRequest.getDefaultInstance());
          return "deleted";
        case "open":
          stream = ours.listItems(ListItemsRequest.getDefaultInstance());
          return stream.next().getItem().getName();
        case "end":
          stream.forEachRemaining(message -> {});
          return "the stream ended";
        default:
          throw new IllegalArgumentException("not a command: " + command);
      }
    }
  }
}
