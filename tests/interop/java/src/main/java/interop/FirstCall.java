package interop;

import example.m2m.client.ClientCredentials;
import example.m2m.client.Issuer;
import example.m2m.client.Tokens;
import inventory.v1.Inventory.GetItemRequest;
import inventory.v1.InventoryServiceGrpc;
import io.grpc.Grpc;
import io.grpc.TlsChannelCredentials;
import java.io.File;
import java.io.IOException;

/** The first call of a Java client, as in the documentation. */
public final class FirstCall {
  private FirstCall() {}

  public static void main(String... arguments) throws IOException {
    // TlsChannelCredentials.create() if Java's own roots suffice.
    var tls = TlsChannelCredentials.newBuilder().trustManager(new File(System.getenv("TOKEN_CA_FILE"))).build();
    var issuer = Issuer.grpc(System.getenv("TOKEN_ISSUER").replace("https://", ""), tls); // host:port
    var tokens =
        Tokens.of(
            ClientCredentials.secret(
                System.getenv("TOKEN_CLIENT_ID"), System.getenv("TOKEN_CLIENT_SECRET"), issuer));
    var channel = Grpc.newChannelBuilder(System.getenv("INVENTORY"), tls).intercept(tokens.interceptor()).build();
    var inventory = InventoryServiceGrpc.newBlockingStub(channel);
    var answer = inventory.getItem(GetItemRequest.newBuilder().setSku("sp-1").build());
    System.out.println(answer.getItem().getName() + " asked by " + answer.getAskedBy());
    channel.shutdown();
  }
}
