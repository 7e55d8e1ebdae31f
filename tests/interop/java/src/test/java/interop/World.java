package interop;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Message;
import example.m2m.client.ClientCredentials;
import example.m2m.client.Issuer;
import example.m2m.client.Tokens;
import example.m2m.tls.Roots;
import example.m2m.verify.TrustedIssuer;
import example.m2m.verify.Verifier;
import io.grpc.ChannelCredentials;
import io.grpc.Grpc;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.TlsChannelCredentials;
import io.grpc.protobuf.StatusProto;
import java.io.File;
import java.io.FileInputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.ArrayList;
import java.util.List;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLSocketFactory;
import javax.net.ssl.TrustManagerFactory;
import org.junit.jupiter.api.Assertions;

/** Shared by the tests against a real issuer. {@code run} sets the environment. */
final class World {
  static final String AUDIENCE = "inventory";
  private static final List<ManagedChannel> CHANNELS = new ArrayList<>();

  private World() {}

  static String env(String name) {
    String value = System.getenv(name);
    Assertions.assertNotNull(value, name + " is not set: these tests run by `run`");
    return value;
  }

  static ChannelCredentials tls() throws IOException {
    return TlsChannelCredentials.newBuilder().trustManager(new File(env("TOKEN_CA_FILE"))).build();
  }

  static SSLSocketFactory sockets() throws IOException, GeneralSecurityException {
    return trust().getSocketFactory();
  }

  /** Trusts the issuer's CA and nothing else. */
  static SSLContext trust() throws IOException, GeneralSecurityException {
    KeyStore roots = KeyStore.getInstance(KeyStore.getDefaultType());
    roots.load(null, null);
    try (var pem = new FileInputStream(env("TOKEN_CA_FILE"))) {
      roots.setCertificateEntry("issuer", CertificateFactory.getInstance("X.509").generateCertificate(pem));
    }
    var trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
    trust.init(roots);
    SSLContext context = SSLContext.getInstance("TLS");
    context.init(null, trust.getTrustManagers(), null);
    return context;
  }

  /** The output of {@code token-server client}. */
  static String manage(String... words) throws IOException, InterruptedException {
    var command = new ArrayList<>(List.of(env("TOKEN_SERVER"), "client"));
    command.addAll(List.of(words));
    var process = new ProcessBuilder(command).redirectError(ProcessBuilder.Redirect.DISCARD).start();
    var output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    Assertions.assertEquals(0, process.waitFor(), output);
    return output;
  }

  /** Returns the tokens of the example client, over gRPC. */
  static Tokens tokens(String secret) throws IOException {
    var issuer = Issuer.grpc(env("TOKEN_ISSUER").replace("https://", ""), tls());
    return Tokens.of(ClientCredentials.secret(env("TOKEN_CLIENT_ID"), secret, issuer));
  }

  static Tokens tokens() throws IOException {
    return tokens(env("TOKEN_CLIENT_SECRET"));
  }

  /** Returns a verifier of the issuer's tokens, which finds the keys by the metadata. */
  static Verifier verifier() throws IOException {
    return Verifier.builder().issuer(TrustedIssuer.discover(env("TOKEN_ISSUER")).tls(roots())).build();
  }

  static SSLContext roots() throws IOException {
    return Roots.of(Path.of(env("TOKEN_CA_FILE")));
  }

  static ManagedChannel channel(String target) throws IOException {
    ManagedChannel channel = Grpc.newChannelBuilder(target, tls()).build();
    CHANNELS.add(channel);
    return channel;
  }

  static void close() {
    CHANNELS.forEach(ManagedChannel::shutdownNow);
    CHANNELS.clear();
  }

  static <T extends Message> T detail(StatusRuntimeException error, Class<T> type)
      throws InvalidProtocolBufferException {
    for (Any detail : StatusProto.fromThrowable(error).getDetailsList()) {
      if (detail.is(type)) {
        return detail.unpack(type);
      }
    }
    return Assertions.fail("no " + type.getSimpleName() + " in " + error);
  }

  static String challenge(StatusRuntimeException error) {
    return error.getTrailers().get(Metadata.Key.of("www-authenticate", Metadata.ASCII_STRING_MARSHALLER));
  }

  static StatusRuntimeException refused(Status.Code code, org.junit.jupiter.api.function.Executable call) {
    var error = Assertions.assertThrows(StatusRuntimeException.class, call);
    Assertions.assertEquals(code, error.getStatus().getCode(), error.getMessage());
    return error;
  }
}
