import com.example.greeter.GreetRequest;
import com.example.greeter.GreetResponse;
import com.example.greeter.GreeterGrpc;
import example.m2m.server.Authorization;
import example.m2m.server.Caller;
import example.m2m.tls.Roots;
import example.m2m.verify.TrustedIssuer;
import example.m2m.verify.Verifier;
import io.grpc.Grpc;
import io.grpc.TlsServerCredentials;
import io.grpc.stub.StreamObserver;
import java.io.File;
import java.nio.file.Path;

/** A server that admits only callers with a token. */
public final class GreeterServer extends GreeterGrpc.GreeterImplBase {
  @Override
  public void greet(GreetRequest request, StreamObserver<GreetResponse> answer) {
    String name = Caller.current().map(Caller::clientId).orElseThrow();
    answer.onNext(GreetResponse.newBuilder().setGreeting("Hello, " + name + ".").build());
    answer.onCompleted();
  }

  /** Serves on a free port, which it prints. */
  public static void main(String[] arguments) throws Exception {
    var tls =
        TlsServerCredentials.create(
            new File(System.getenv("TOKEN_TLS_CERTIFICATE")), new File(System.getenv("TOKEN_TLS_KEY")));
    var issuer =
        TrustedIssuer.discover(System.getenv("TOKEN_ISSUER")).tls(Roots.of(Path.of(System.getenv("TOKEN_CA_FILE"))));
    var verifier = Verifier.builder().issuer(issuer).build();
    var server =
        Authorization.of(verifier)
            .around(Grpc.newServerBuilderForPort(0, tls))
            .addService(new GreeterServer())
            .build()
            .start();
    System.out.println("localhost:" + server.getPort());
    server.awaitTermination();
  }
}
