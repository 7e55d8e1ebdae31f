package interop;

import inventory.v1.Inventory.GetItemRequest;
import inventory.v1.InventoryServiceGrpc;
import io.grpc.Grpc;
import io.grpc.TlsChannelCredentials;
import java.io.File;
import java.io.IOException;

/** The first call of a Java client, as the documentation shows it. */
public final class FirstCall {
  private FirstCall() {}

  public static void main(String... arguments) throws IOException {
    // TlsChannelCredentials.create() where Java's own roots will do.
    var tls = TlsChannelCredentials.newBuilder().trustManager(new File(System.getenv("TOKEN_CA_FILE"))).build();
    var tokens =
        TokenCredentials.connect(
            System.getenv("TOKEN_ISSUER").replace("https://", ""), // host:port
            tls,
            System.getenv("TOKEN_CLIENT_ID"),
            System.getenv("TOKEN_CLIENT_SECRET"),
            "inventory");
    var channel = Grpc.newChannelBuilder(System.getenv("INVENTORY"), tls).build();
    var inventory = InventoryServiceGrpc.newBlockingStub(channel).withCallCredentials(tokens);
    var answer = inventory.getItem(GetItemRequest.newBuilder().setSku("sp-1").build());
    System.out.println(answer.getItem().getName() + " asked by " + answer.getAskedBy());
    channel.shutdown();
  }
}
