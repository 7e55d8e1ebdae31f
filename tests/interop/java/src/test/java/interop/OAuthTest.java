package interop;

import static interop.World.env;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.nimbusds.oauth2.sdk.ClientCredentialsGrant;
import com.nimbusds.oauth2.sdk.Scope;
import com.nimbusds.oauth2.sdk.TokenRequest;
import com.nimbusds.oauth2.sdk.TokenResponse;
import com.nimbusds.oauth2.sdk.as.AuthorizationServerMetadata;
import com.nimbusds.oauth2.sdk.auth.ClientAuthentication;
import com.nimbusds.oauth2.sdk.auth.ClientSecretBasic;
import com.nimbusds.oauth2.sdk.auth.ClientSecretPost;
import com.nimbusds.oauth2.sdk.auth.Secret;
import com.nimbusds.oauth2.sdk.http.HTTPRequest;
import com.nimbusds.oauth2.sdk.id.ClientID;
import com.nimbusds.oauth2.sdk.id.Issuer;
import com.nimbusds.openid.connect.sdk.op.OIDCProviderMetadata;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** Nimbus' OAuth client gets tokens from the issuer. */
class OAuthTest {
  private static AuthorizationServerMetadata issuer;
  private static final ClientID ID = new ClientID(env("TOKEN_CLIENT_ID"));
  private static final Secret SECRET = new Secret(env("TOKEN_CLIENT_SECRET"));

  @BeforeAll
  static void discover() throws Exception {
    HTTPRequest.setDefaultSSLSocketFactory(World.sockets());
    issuer = AuthorizationServerMetadata.resolve(new Issuer(env("TOKEN_ISSUER")));
  }

  private static TokenResponse ask(ClientAuthentication client, String scope) throws Exception {
    var request =
        new TokenRequest.Builder(issuer.getTokenEndpointURI(), client, new ClientCredentialsGrant())
            .scope(Scope.parse(scope))
            .customParameter("audience", World.AUDIENCE)
            .build();
    return TokenResponse.parse(request.toHTTPRequest().send());
  }

  @Test
  void getsTokensThatItsVerifierAccepts() throws Exception {
    var verifier = World.verifier();
    for (var client : new ClientAuthentication[] {new ClientSecretBasic(ID, SECRET), new ClientSecretPost(ID, SECRET)}) {
      var answer = ask(client, "inventory.read").toSuccessResponse().getTokens().getAccessToken();
      assertEquals("Bearer", answer.getType().getValue());
      assertEquals(Scope.parse("inventory.read"), answer.getScope());
      assertTrue(answer.getLifetime() > 0);
      var token = verifier.verify(answer.getValue(), World.AUDIENCE);
      assertEquals(ID.getValue(), token.subject());
      assertEquals(ID.getValue(), token.clientId());
    }
  }

  @Test
  void readsInvalidClient() throws Exception {
    var answer = ask(new ClientSecretBasic(ID, new Secret("wrong")), "inventory.read").toErrorResponse();
    assertEquals("invalid_client", answer.getErrorObject().getCode());
    assertEquals(401, answer.getErrorObject().getHTTPStatusCode());
  }

  @Test
  void readsInvalidScope() throws Exception {
    var answer = ask(new ClientSecretBasic(ID, SECRET), "inventory.destroy").toErrorResponse();
    assertEquals("invalid_scope", answer.getErrorObject().getCode());
  }

  @Test
  void readsTheOpenidMetadata() throws Exception {
    var metadata = OIDCProviderMetadata.resolve(new Issuer(env("TOKEN_ISSUER")));
    assertEquals(issuer.getJWKSetURI(), metadata.getJWKSetURI());
    assertEquals(issuer.getTokenEndpointURI(), metadata.getTokenEndpointURI());
  }
}
