package interop;

import static interop.World.env;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.nimbusds.jose.jwk.Curve;
import com.nimbusds.jose.jwk.ECKey;
import com.nimbusds.jose.jwk.gen.ECKeyGenerator;
import com.nimbusds.jose.util.JSONObjectUtils;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.function.Consumer;
import javax.net.ssl.HttpsURLConnection;
import javax.net.ssl.SSLContext;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.springframework.security.authentication.AuthenticationProvider;
import org.springframework.security.core.Authentication;
import org.springframework.security.oauth2.client.endpoint.NimbusJwtClientAuthenticationParametersConverter;
import org.springframework.security.oauth2.client.endpoint.OAuth2ClientCredentialsGrantRequest;
import org.springframework.security.oauth2.client.endpoint.RestClientClientCredentialsTokenResponseClient;
import org.springframework.security.oauth2.client.registration.ClientRegistration;
import org.springframework.security.oauth2.client.registration.ClientRegistrations;
import org.springframework.security.oauth2.core.AuthorizationGrantType;
import org.springframework.security.oauth2.core.ClientAuthenticationMethod;
import org.springframework.security.oauth2.core.DelegatingOAuth2TokenValidator;
import org.springframework.security.oauth2.core.OAuth2AuthenticationException;
import org.springframework.security.oauth2.core.OAuth2AuthorizationException;
import org.springframework.security.oauth2.jose.jws.SignatureAlgorithm;
import org.springframework.security.oauth2.jwt.JwtAudienceValidator;
import org.springframework.security.oauth2.jwt.JwtDecoder;
import org.springframework.security.oauth2.jwt.JwtIssuerValidator;
import org.springframework.security.oauth2.jwt.JwtTimestampValidator;
import org.springframework.security.oauth2.jwt.JwtTypeValidator;
import org.springframework.security.oauth2.jwt.NimbusJwtDecoder;
import org.springframework.security.oauth2.server.resource.authentication.BearerTokenAuthenticationToken;
import org.springframework.security.oauth2.server.resource.authentication.JwtAuthenticationProvider;
import org.springframework.security.oauth2.server.resource.authentication.OpaqueTokenAuthenticationProvider;
import org.springframework.security.oauth2.server.resource.introspection.SpringOpaqueTokenIntrospector;

/**
 * Spring Security's client and resource servers, by the lines of {@code token-server/docs/languages/java.md}.
 */
class SpringSecurityTest {
  private static SSLContext before;

  @BeforeAll
  static void trust() throws Exception {
    before = SSLContext.getDefault();
    SSLContext.setDefault(World.trust());
    HttpsURLConnection.setDefaultSSLSocketFactory(World.trust().getSocketFactory());
  }

  @AfterAll
  static void distrust() {
    SSLContext.setDefault(before);
  }

  private static ClientRegistration.Builder registration(String id) {
    return ClientRegistrations.fromIssuerLocation(env("TOKEN_ISSUER"))
        .clientId(id)
        .authorizationGrantType(AuthorizationGrantType.CLIENT_CREDENTIALS)
        .scope("inventory.read");
  }

  private static String token(RestClientClientCredentialsTokenResponseClient client, ClientRegistration registration) {
    var answer = client.getTokenResponse(new OAuth2ClientCredentialsGrantRequest(registration));
    return answer.getAccessToken().getTokenValue();
  }

  /** The example client's token, which Spring asks for by the scope alone. */
  private static String token() {
    var registration = registration(env("TOKEN_CLIENT_ID")).clientSecret(env("TOKEN_CLIENT_SECRET")).build();
    return token(new RestClientClientCredentialsTokenResponseClient(), registration);
  }

  private static JwtDecoder decoder(String issuer, String audience) {
    NimbusJwtDecoder decoder = NimbusJwtDecoder.withIssuerLocation(issuer)
        .jwsAlgorithm(SignatureAlgorithm.ES256) // the algorithm of [keys] algorithms
        .validateType(false)
        .build();
    decoder.setJwtValidator(new DelegatingOAuth2TokenValidator<>(
        new JwtTypeValidator("at+jwt"),
        new JwtTimestampValidator(Duration.ofSeconds(5)),
        new JwtIssuerValidator(issuer),
        new JwtAudienceValidator(audience)));
    return decoder;
  }

  private static Authentication authenticate(AuthenticationProvider provider, String token) {
    return provider.authenticate(new BearerTokenAuthenticationToken(token));
  }

  private static void hasTheScopeAsAuthority(Authentication caller) {
    var names = caller.getAuthorities().stream().map(authority -> authority.getAuthority()).toList();
    assertTrue(names.contains("SCOPE_inventory.read"), names::toString);
  }

  @Test
  void aResourceServerAcceptsAccessTokensForItsAudience() {
    String issuer = env("TOKEN_ISSUER");
    var caller = authenticate(new JwtAuthenticationProvider(decoder(issuer, "inventory")), token());
    assertEquals(env("TOKEN_CLIENT_ID"), caller.getName());
    hasTheScopeAsAuthority(caller);
    var another = new JwtAuthenticationProvider(decoder(issuer, "elsewhere"));
    String token = token();
    assertThrows(OAuth2AuthenticationException.class, () -> authenticate(another, token));
  }

  /** Spring's default admits {@code typ} JWT alone, so that the bean is needed. */
  @Test
  void aResourceServerWithoutTheBeanRefusesAccessTokens() {
    var plain = NimbusJwtDecoder.withIssuerLocation(env("TOKEN_ISSUER")).jwsAlgorithm(SignatureAlgorithm.ES256).build();
    String token = token();
    var refused =
        assertThrows(
            OAuth2AuthenticationException.class, () -> authenticate(new JwtAuthenticationProvider(plain), token));
    assertTrue(refused.getMessage().contains("typ"), refused::getMessage);
  }

  @Test
  void aResourceServerIntrospectsOnlyWithTheGrantForIt() throws Exception {
    String token = token();
    hasTheScopeAsAuthority(
        authenticate(introspecting("spring-gateway", "m2m.token.v1=tokens.introspect"), token));
    var without = introspecting("spring-stranger", "inventory=inventory.read");
    assertThrows(OAuth2AuthenticationException.class, () -> authenticate(without, token));
  }

  private static AuthenticationProvider introspecting(String id, String grant) throws Exception {
    var created = JSONObjectUtils.parse(World.manage("create", id, "--grant", grant, "--json"));
    var introspector = SpringOpaqueTokenIntrospector.withIntrospectionUri(env("TOKEN_ISSUER") + "/oauth/introspect")
        .clientId(id)
        .clientSecret((String) created.get("client_secret"))
        .build();
    return new OpaqueTokenAuthenticationProvider(introspector);
  }

  @Test
  void aClientProvesItselfByItsKeyWithTheIssuerAsAudience(@TempDir Path folder) throws Exception {
    ECKey key = new ECKeyGenerator(Curve.P_256).keyID("spring").generate();
    Path jwk = Files.writeString(folder.resolve("public.jwk"), key.toPublicJWK().toJSONString());
    World.manage("create", "keyed-by-spring", "--grant", "inventory=inventory.read");
    World.manage("add-key", "keyed-by-spring", "--key", jwk.toString());
    var registration =
        registration("keyed-by-spring").clientAuthenticationMethod(ClientAuthenticationMethod.PRIVATE_KEY_JWT).build();
    String issuer = env("TOKEN_ISSUER");
    String token = token(keyed(key, c -> c.getClaims().audience(List.of(issuer))), registration);
    assertEquals("keyed-by-spring", decoder(issuer, "inventory").decode(token).getSubject());
    // The token endpoint, as Spring has it by default.
    assertThrows(OAuth2AuthorizationException.class, () -> token(keyed(key, c -> {}), registration));
  }

  private static RestClientClientCredentialsTokenResponseClient keyed(
      ECKey key,
      Consumer<
              NimbusJwtClientAuthenticationParametersConverter.JwtClientAuthenticationContext<
                  OAuth2ClientCredentialsGrantRequest>>
          customizer) {
    var converter =
        new NimbusJwtClientAuthenticationParametersConverter<OAuth2ClientCredentialsGrantRequest>(registration -> key);
    converter.setJwtClientAssertionCustomizer(customizer);
    var client = new RestClientClientCredentialsTokenResponseClient();
    client.addParametersConverter(converter);
    return client;
  }
}
