package example.m2m.spring;

import example.m2m.client.ClientCredentials;
import example.m2m.client.Issuer;
import example.m2m.client.Tokens;
import example.m2m.server.Authorization;
import example.m2m.tls.Roots;
import example.m2m.verify.TrustedIssuer;
import example.m2m.verify.Verifier;
import io.grpc.BindableService;
import io.grpc.ClientInterceptor;
import io.grpc.ServerBuilder;
import java.io.IOException;
import java.util.Optional;
import javax.net.ssl.SSLContext;
import org.springframework.beans.factory.ObjectProvider;
import org.springframework.boot.autoconfigure.AutoConfiguration;
import org.springframework.boot.autoconfigure.condition.ConditionalOnClass;
import org.springframework.boot.autoconfigure.condition.ConditionalOnMissingBean;
import org.springframework.boot.autoconfigure.condition.ConditionalOnProperty;
import org.springframework.boot.context.properties.EnableConfigurationProperties;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.core.annotation.Order;
import org.springframework.grpc.client.GlobalClientInterceptor;
import org.springframework.grpc.server.ServerBuilderCustomizer;

/**
 * Puts the server layer around the application's gRPC servers, and the client layer around its channels. A
 * bean of the application's own replaces each part.
 */
@AutoConfiguration(
    beforeName = {
      "org.springframework.boot.grpc.server.autoconfigure.GrpcServerAutoConfiguration",
      "org.springframework.boot.grpc.client.autoconfigure.GrpcClientAutoConfiguration"
    })
@ConditionalOnProperty("m2m.token.issuer")
@EnableConfigurationProperties(TokenProperties.class)
public class TokenAutoConfiguration {
  /** Customizers with a lower number have run: so the layer is the outermost interceptor. */
  private static final int LAST = Integer.MAX_VALUE;

  /** Creates the configuration. */
  public TokenAutoConfiguration() {}

  private static Optional<SSLContext> roots(TokenProperties properties) throws IOException {
    return properties.caFile() == null ? Optional.empty() : Optional.of(Roots.of(properties.caFile()));
  }

  /** The server layer, for applications that serve gRPC. */
  @Configuration(proxyBeanMethods = false)
  @ConditionalOnClass(name = "org.springframework.boot.grpc.server.autoconfigure.GrpcServerAutoConfiguration")
  static class ServerLayer {
    @Bean
    @ConditionalOnMissingBean
    Verifier tokenVerifier(TokenProperties properties) throws IOException {
      TrustedIssuer issuer = TrustedIssuer.discover(properties.issuer());
      roots(properties).ifPresent(issuer::tls);
      return Verifier.builder().issuer(issuer).build();
    }

    @Bean
    @ConditionalOnMissingBean
    Authorization tokenAuthorization(Verifier verifier, TokenProperties properties) {
      var authorization = Authorization.of(verifier).open(properties.open().toArray(String[]::new));
      return properties.observe() ? authorization.observe() : authorization;
    }

    @Bean
    @Order(LAST)
    <T extends ServerBuilder<T>> ServerBuilderCustomizer<T> tokenCustomizer(
        Authorization authorization, ObjectProvider<BindableService> services) {
      return server ->
          authorization.protect(server, services.stream().map(BindableService::bindService).toList());
    }
  }

  /** The client layer. */
  @Configuration(proxyBeanMethods = false)
  @ConditionalOnProperty("m2m.token.client-id")
  static class ClientLayer {
    @Bean
    @ConditionalOnMissingBean
    Tokens tokens(TokenProperties properties) throws IOException {
      var issuer =
          Issuer.http(properties.issuer(), roots(properties), Issuer.AudienceParameter.AUDIENCE);
      return Tokens.of(ClientCredentials.secret(properties.clientId(), properties.clientSecret(), issuer));
    }

    @Bean
    @GlobalClientInterceptor
    ClientInterceptor tokenInterceptor(Tokens tokens) {
      return tokens.interceptor();
    }
  }
}
