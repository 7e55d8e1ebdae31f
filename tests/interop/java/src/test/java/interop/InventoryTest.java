package interop;

import static interop.World.challenge;
import static interop.World.channel;
import static interop.World.detail;
import static interop.World.env;
import static interop.World.refused;
import static interop.World.tokens;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import example.m2m.client.ClientCredentials;
import example.m2m.client.Issuer;
import example.m2m.client.TokenFile;
import example.m2m.client.Tokens;
import inventory.v1.Inventory.DeleteItemRequest;
import inventory.v1.Inventory.GetItemRequest;
import inventory.v1.Inventory.GetOpeningHoursRequest;
import inventory.v1.Inventory.ListItemsRequest;
import inventory.v1.InventoryServiceGrpc;
import inventory.v1.InventoryServiceGrpc.InventoryServiceBlockingStub;
import io.grpc.Status;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The Rust example application, called from Java through the call credentials. */
class InventoryTest {
  @AfterEach
  void close() {
    World.close();
  }

  private static InventoryServiceBlockingStub inventory(String address) throws IOException {
    return InventoryServiceGrpc.newBlockingStub(channel(env(address))).withDeadlineAfter(10, TimeUnit.SECONDS);
  }

  @Test
  void theFirstCallOfTheDocumentation() throws IOException {
    FirstCall.main();
  }

  @Test
  void aCallWithATokenIsAllowed() throws IOException {
    var service = inventory("INVENTORY").withInterceptors(tokens().interceptor());
    var item = service.listItems(ListItemsRequest.getDefaultInstance()).next().getItem();
    var answer = service.getItem(GetItemRequest.newBuilder().setSku(item.getSku()).build());
    assertEquals(item, answer.getItem());
    assertEquals(env("TOKEN_CLIENT_ID"), answer.getAskedBy());
  }

  @Test
  void aTokenFileOfTheAgentIsGoodForACall(@TempDir Path folder) throws IOException, InterruptedException {
    Path file = folder.resolve("inventory.jwt");
    var agent =
        new ProcessBuilder(env("TOKEN_SERVER"), "agent", "--once", "--token", "inventory=" + file).inheritIO();
    assertEquals(0, agent.start().waitFor());
    var service = inventory("INVENTORY").withCallCredentials(Tokens.of(TokenFile.at(file)).callCredentials());
    var answer = service.getItem(GetItemRequest.newBuilder().setSku("sp-1").build());
    assertEquals(env("TOKEN_CLIENT_ID"), answer.getAskedBy());
  }

  @Test
  void anIssuerIsFoundByItsMetadata() throws IOException {
    var issuer =
        Issuer.http(env("TOKEN_ISSUER"), Optional.of(World.roots()), Issuer.AudienceParameter.AUDIENCE);
    var source = ClientCredentials.secret(env("TOKEN_CLIENT_ID"), env("TOKEN_CLIENT_SECRET"), issuer);
    var service = inventory("INVENTORY").withInterceptors(Tokens.of(source).interceptor());
    var answer = service.getItem(GetItemRequest.newBuilder().setSku("sp-1").build());
    assertEquals(env("TOKEN_CLIENT_ID"), answer.getAskedBy());
  }

  @Test
  void aDeniedCallNamesTheMissingScope() throws IOException {
    var service = inventory("INVENTORY").withInterceptors(tokens().interceptor());
    var request = DeleteItemRequest.newBuilder().setSku("any").build();
    var error = refused(Status.Code.PERMISSION_DENIED, () -> service.deleteItem(request));
    ErrorInfo info = detail(error, ErrorInfo.class);
    assertEquals("m2m.token.v1", info.getDomain());
    assertEquals("SCOPE_INSUFFICIENT", info.getReason());
    assertEquals("inventory.write", info.getMetadataOrThrow("scope"));
    assertTrue(challenge(error).startsWith("Bearer "), challenge(error));
    assertTrue(challenge(error).contains("error=\"insufficient_scope\""), challenge(error));
    assertTrue(challenge(error).contains("scope=\"inventory.write\""), challenge(error));
  }

  @Test
  void aCallWithoutATokenIsChallenged() throws IOException {
    var service = inventory("INVENTORY");
    var error =
        refused(Status.Code.UNAUTHENTICATED, () -> service.getItem(GetItemRequest.getDefaultInstance()));
    assertEquals("CREDENTIALS_MISSING", detail(error, ErrorInfo.class).getReason());
    assertTrue(challenge(error).startsWith("Bearer"), challenge(error));
    assertFalse(challenge(error).contains("error="), challenge(error));
  }

  @Test
  void aPublicMethodNeedsNoToken() throws IOException {
    inventory("INVENTORY").getOpeningHours(GetOpeningHoursRequest.getDefaultInstance());
  }

  @Test
  void aServerThatCannotReachItsIssuerSaysWhenToTryAgain() throws IOException {
    var service = inventory("INVENTORY_WITHOUT_ISSUER").withInterceptors(tokens().interceptor());
    var error = refused(Status.Code.UNAVAILABLE, () -> service.getItem(GetItemRequest.getDefaultInstance()));
    assertEquals("TRUST_UNAVAILABLE", detail(error, ErrorInfo.class).getReason());
    var delay = detail(error, RetryInfo.class).getRetryDelay();
    assertTrue(delay.getSeconds() > 0 || delay.getNanos() > 0);
  }

  @Test
  void aWrongSecretFailsTheCallAsUnauthenticated() throws IOException {
    var service = inventory("INVENTORY").withInterceptors(tokens("wrong").interceptor());
    var error =
        refused(Status.Code.UNAUTHENTICATED, () -> service.getItem(GetItemRequest.getDefaultInstance()));
    assertEquals("CLIENT_AUTHENTICATION_FAILED", detail(error, ErrorInfo.class).getReason());
  }
}
