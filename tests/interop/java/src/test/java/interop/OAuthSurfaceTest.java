package interop;

import static interop.World.env;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.nimbusds.jose.JWSAlgorithm;
import com.nimbusds.jose.jwk.Curve;
import com.nimbusds.jose.jwk.ECKey;
import com.nimbusds.jose.jwk.gen.ECKeyGenerator;
import com.nimbusds.jwt.SignedJWT;
import com.nimbusds.oauth2.sdk.AuthorizationGrant;
import com.nimbusds.oauth2.sdk.ClientCredentialsGrant;
import com.nimbusds.oauth2.sdk.Scope;
import com.nimbusds.oauth2.sdk.TokenIntrospectionRequest;
import com.nimbusds.oauth2.sdk.TokenIntrospectionResponse;
import com.nimbusds.oauth2.sdk.TokenIntrospectionSuccessResponse;
import com.nimbusds.oauth2.sdk.TokenRequest;
import com.nimbusds.oauth2.sdk.TokenResponse;
import com.nimbusds.oauth2.sdk.TokenRevocationRequest;
import com.nimbusds.oauth2.sdk.as.AuthorizationServerMetadata;
import com.nimbusds.oauth2.sdk.auth.ClientAuthentication;
import com.nimbusds.oauth2.sdk.auth.ClientSecretBasic;
import com.nimbusds.oauth2.sdk.auth.JWTAuthenticationClaimsSet;
import com.nimbusds.oauth2.sdk.auth.PrivateKeyJWT;
import com.nimbusds.oauth2.sdk.auth.Secret;
import com.nimbusds.oauth2.sdk.http.HTTPRequest;
import com.nimbusds.oauth2.sdk.id.Audience;
import com.nimbusds.oauth2.sdk.id.ClientID;
import com.nimbusds.oauth2.sdk.id.Issuer;
import com.nimbusds.oauth2.sdk.token.AccessToken;
import com.nimbusds.oauth2.sdk.token.BearerAccessToken;
import com.nimbusds.oauth2.sdk.token.TokenTypeURI;
import com.nimbusds.oauth2.sdk.tokenexchange.TokenExchangeGrant;
import com.nimbusds.openid.connect.sdk.UserInfoRequest;
import com.nimbusds.openid.connect.sdk.UserInfoResponse;
import example.m2m.client.ClientCredential;
import example.m2m.client.TokenExchange;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Introspection, revocation, private_key_jwt, token exchange and user info with Nimbus. */
class OAuthSurfaceTest {
  private static final ClientID KEYED = new ClientID("keyed-by-nimbus");
  private static AuthorizationServerMetadata issuer;
  private static ECKey key;

  /** A client that has a key pair and no secret, and may exchange tokens. */
  @BeforeAll
  static void register(@TempDir Path folder) throws Exception {
    HTTPRequest.setDefaultSSLSocketFactory(World.sockets());
    issuer = AuthorizationServerMetadata.resolve(new Issuer(env("TOKEN_ISSUER")));
    key = new ECKeyGenerator(Curve.P_256).generate();
    Path jwk = Files.writeString(folder.resolve("public.jwk"), key.toPublicJWK().toJSONString());
    World.manage(
        "create", KEYED.getValue(), "--grant", World.AUDIENCE + "=inventory.read", "--subject-audience", World.AUDIENCE,
        "--grant-type", "client_credentials", "--grant-type", "urn:ietf:params:oauth:grant-type:token-exchange");
    World.manage("add-key", KEYED.getValue(), "--key", jwk.toString());
  }

  private static ClientAuthentication orders() {
    return new ClientSecretBasic(
        new ClientID(env("TOKEN_CLIENT_ID")), new Secret(env("TOKEN_CLIENT_SECRET")));
  }

  /** RFC 10070: the audience is the issuer and not the endpoint. Each assertion is valid once. */
  private static ClientAuthentication keyed() throws Exception {
    var claims = new JWTAuthenticationClaimsSet(KEYED, new Audience(env("TOKEN_ISSUER")));
    return new PrivateKeyJWT(claims, JWSAlgorithm.ES256, key.toPrivateKey(), null, null);
  }

  private static AccessToken token(ClientAuthentication client, AuthorizationGrant grant) throws Exception {
    var request = new TokenRequest.Builder(issuer.getTokenEndpointURI(), client, grant)
        .scope(new Scope("inventory.read"))
        .customParameter("audience", World.AUDIENCE)
        .build();
    return TokenResponse.parse(request.toHTTPRequest().send()).toSuccessResponse().getTokens().getAccessToken();
  }

  private static TokenIntrospectionSuccessResponse introspect(AccessToken token) throws Exception {
    var request = new TokenIntrospectionRequest(issuer.getIntrospectionEndpointURI(), orders(), token);
    return TokenIntrospectionResponse.parse(request.toHTTPRequest().send()).toSuccessResponse();
  }

  @Test
  void aTokenIsActiveUntilItIsRevoked() throws Exception {
    var token = token(orders(), new ClientCredentialsGrant());
    var active = introspect(token);
    assertTrue(active.isActive());
    assertEquals(env("TOKEN_CLIENT_ID"), active.getClientID().getValue());
    assertEquals(new Scope("inventory.read"), active.getScope());
    var revocation = new TokenRevocationRequest(issuer.getRevocationEndpointURI(), orders(), token);
    assertEquals(200, revocation.toHTTPRequest().send().getStatusCode());
    assertFalse(introspect(token).isActive());
  }

  @Test
  void whatIsNoTokenIsInactiveAndRevokedWithoutComplaint() throws Exception {
    var nothing = new BearerAccessToken("no-token");
    assertFalse(introspect(nothing).isActive());
    var revocation = new TokenRevocationRequest(issuer.getRevocationEndpointURI(), orders(), nothing);
    assertEquals(200, revocation.toHTTPRequest().send().getStatusCode());
  }

  @Test
  void aKeyPairProvesAClient() throws Exception {
    var claims = SignedJWT.parse(token(keyed(), new ClientCredentialsGrant()).getValue()).getJWTClaimsSet();
    assertEquals(KEYED.getValue(), claims.getStringClaim("client_id"));
  }

  @Test
  void anAssertionIsGoodOnce() throws Exception {
    var assertion = keyed();
    token(assertion, new ClientCredentialsGrant());
    var request = new TokenRequest.Builder(issuer.getTokenEndpointURI(), assertion, new ClientCredentialsGrant())
        .customParameter("audience", World.AUDIENCE)
        .build();
    var again = TokenResponse.parse(request.toHTTPRequest().send()).toErrorResponse();
    assertEquals("invalid_client", again.getErrorObject().getCode());
  }

  @Test
  void anExchangedTokenNamesItsSubjectAndItsActor() throws Exception {
    var subject = token(orders(), new ClientCredentialsGrant());
    var exchanged = token(keyed(), new TokenExchangeGrant(subject, TokenTypeURI.ACCESS_TOKEN));
    assertEquals(TokenTypeURI.ACCESS_TOKEN, exchanged.getIssuedTokenType());
    var claims = SignedJWT.parse(exchanged.getValue()).getJWTClaimsSet();
    assertEquals(env("TOKEN_CLIENT_ID"), claims.getSubject());
    assertEquals(KEYED.getValue(), claims.getJSONObjectClaim("act").get("sub"));
  }

  /** The package's own exchange, by the client's key, over both protocols. */
  @Test
  void thePackageExchangesTokens() throws Exception {
    var subject = token(orders(), new ClientCredentialsGrant()).getValue();
    var identifier = env("TOKEN_ISSUER");
    var credential = ClientCredential.privateKey(key, identifier);
    for (var place :
        List.of(
            example.m2m.client.Issuer.grpc(identifier.replace("https://", ""), World.tls()),
            example.m2m.client.Issuer.http(
                identifier,
                Optional.of(World.roots()),
                example.m2m.client.Issuer.AudienceParameter.AUDIENCE))) {
      var request =
          example.m2m.client.TokenRequest.forAudience(World.AUDIENCE, "inventory.read").onBehalfOf(subject);
      var issued =
          TokenExchange.of(KEYED.getValue(), credential, place)
              .fetch(request)
              .toCompletableFuture()
              .get(10, TimeUnit.SECONDS);
      var verified = World.verifier().verify(issued.token().expose(), World.AUDIENCE);
      assertEquals(env("TOKEN_CLIENT_ID"), verified.subject());
      assertEquals(KEYED.getValue(), verified.actors().get(0).subject());
    }
  }

  @Test
  void userInfoKnowsTheSubject() throws Exception {
    var metadata = com.nimbusds.openid.connect.sdk.op.OIDCProviderMetadata.resolve(new Issuer(env("TOKEN_ISSUER")));
    var token = new BearerAccessToken(token(orders(), new ClientCredentialsGrant()).getValue());
    var answer = UserInfoResponse.parse(
        new UserInfoRequest(metadata.getUserInfoEndpointURI(), token).toHTTPRequest().send());
    assertEquals(env("TOKEN_CLIENT_ID"), answer.toSuccessResponse().getUserInfo().getSubject().getValue());
  }
}
