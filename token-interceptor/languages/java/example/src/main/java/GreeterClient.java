import com.example.greeter.GreetRequest;
import com.example.greeter.GreeterGrpc;
import example.m2m.client.ClientCredentials;
import example.m2m.client.Issuer;
import example.m2m.client.Tokens;
import io.grpc.Grpc;
import io.grpc.StatusRuntimeException;
import io.grpc.TlsChannelCredentials;
import java.io.File;

/** A client that calls once without a token, and once with one. */
public final class GreeterClient {
  private GreeterClient() {}

  /** Calls the server at the address in the first argument. */
  public static void main(String[] arguments) throws Exception {
    var tls = TlsChannelCredentials.newBuilder().trustManager(new File(System.getenv("TOKEN_CA_FILE"))).build();
    var issuer = Issuer.grpc(System.getenv("TOKEN_ISSUER").replace("https://", ""), tls);
    var tokens =
        Tokens.of(
            ClientCredentials.secret(
                System.getenv("TOKEN_CLIENT_ID"), System.getenv("TOKEN_CLIENT_SECRET"), issuer));
    var channel = Grpc.newChannelBuilder(arguments[0], tls).build();
    try {
      GreeterGrpc.newBlockingStub(channel).greet(GreetRequest.getDefaultInstance());
    } catch (StatusRuntimeException refused) {
      System.out.println("without a token: " + refused.getStatus().getCode());
    }
    var greeter = GreeterGrpc.newBlockingStub(channel).withInterceptors(tokens.interceptor());
    System.out.println("with a token: " + greeter.greet(GreetRequest.getDefaultInstance()).getGreeting());
    channel.shutdown();
  }
}
