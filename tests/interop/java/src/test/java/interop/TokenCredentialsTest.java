package interop;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.Any;
import com.google.protobuf.Message;
import com.google.protobuf.util.Durations;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import interop.TokenCredentials.Moment;
import io.grpc.Context;
import io.grpc.InsecureChannelCredentials;
import io.grpc.SecurityLevel;
import io.grpc.Status;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.StreamObserver;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.List;
import java.util.Queue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import org.junit.jupiter.api.Test;
import example.m2m.token.v1.IssueTokenResponse;
import example.m2m.token.v1.Token;

/** The behaviour of the call credentials, with a fake issuer and a stopped clock. */
class TokenCredentialsTest {
  private Moment now = new Moment(0, Instant.parse("2026-11-24T12:00:00Z"));
  private final Queue<StreamObserver<IssueTokenResponse>> requests = new ArrayDeque<>();
  private double jitter = 1;
  private int asked;
  private int issued;
  private boolean cancelled;
  private final TokenCredentials credentials = new TokenCredentials(this::ask, () -> now, () -> jitter);

  private synchronized void ask(StreamObserver<IssueTokenResponse> request) {
    asked++;
    cancelled |= Context.current().isCancelled();
    requests.add(request);
  }

  private void pass(long millis) {
    now = now.plus(Duration.ofMillis(millis));
  }

  private void setClock(Duration change) {
    now = new Moment(now.monotonicNanos(), now.wall().plus(change));
  }

  private void answer() {
    var token =
        Token.newBuilder()
            .setValue("token-" + ++issued)
            .setExpiresIn(Durations.fromSeconds(300))
            .setRefreshAfter(Durations.fromSeconds(240));
    requests.remove().onNext(IssueTokenResponse.newBuilder().setToken(token).build());
  }

  private void fail(Status.Code code, Message... details) {
    var status = com.google.rpc.Status.newBuilder().setCode(code.value()).setMessage("words of the issuer");
    for (Message detail : details) {
      status.addDetails(Any.pack(detail));
    }
    requests.remove().onError(StatusProto.toStatusRuntimeException(status.build()));
  }

  private void first() {
    var call = credentials.header();
    answer();
    assertEquals("Bearer token-1", call.getNow(null));
  }

  private void gives(String header) {
    assertEquals(header, credentials.header().getNow("nothing yet"));
  }

  private static void failed(CompletableFuture<String> call, Status.Code code, String words) {
    assertTrue(call.isDone());
    Status status = Status.fromThrowable(assertThrows(CompletionException.class, call::join));
    assertEquals(code, status.getCode());
    assertTrue(status.getDescription().contains(words), status.getDescription());
  }

  @Test
  void manyFirstCallsShareOneRequest() throws InterruptedException {
    List<CompletableFuture<String>> calls = new ArrayList<>();
    List<Thread> threads = new ArrayList<>();
    for (int i = 0; i < 100; i++) {
      var call = new CompletableFuture<String>();
      calls.add(call);
      threads.add(new Thread(() -> credentials.header().thenAccept(call::complete)));
    }
    threads.forEach(Thread::start);
    for (Thread thread : threads) {
      thread.join();
    }
    assertEquals(1, asked);
    answer();
    calls.forEach(call -> assertEquals("Bearer token-1", call.getNow(null)));
  }

  @Test
  void manyFirstCallsShareOneFailure() {
    List<CompletableFuture<String>> calls = new ArrayList<>();
    for (int i = 0; i < 100; i++) {
      calls.add(credentials.header());
    }
    fail(Status.Code.UNAVAILABLE);
    assertEquals(1, asked);
    calls.forEach(call -> failed(call, Status.Code.UNAVAILABLE, "UNAVAILABLE"));
  }

  @Test
  void renewsInTheBackgroundWithoutDelayingACall() {
    first();
    pass(239_000);
    gives("Bearer token-1");
    assertEquals(1, asked);
    pass(1_000);
    for (int i = 0; i < 100; i++) {
      gives("Bearer token-1");
    }
    assertEquals(2, asked);
    answer();
    gives("Bearer token-2");
    assertEquals(2, asked);
  }

  @Test
  void servesATokenUntilItExpiresWhileTheIssuerIsDown() {
    first();
    pass(240_000);
    gives("Bearer token-1");
    fail(Status.Code.UNAVAILABLE);
    pass(59_900);
    gives("Bearer token-1");
    fail(Status.Code.UNAVAILABLE);
    pass(100);
    failed(credentials.header(), Status.Code.UNAVAILABLE, "UNAVAILABLE");
  }

  @Test
  void neverUsesATokenPastItsExpiryAfterASuspend() {
    first();
    setClock(Duration.ofHours(2));
    var call = credentials.header();
    assertFalse(call.isDone());
    answer();
    assertEquals("Bearer token-2", call.getNow(null));
  }

  @Test
  void neverUsesATokenPastItsExpiryWhenTheClockIsSetBack() {
    first();
    setClock(Duration.ofDays(-1));
    pass(300_000);
    var call = credentials.header();
    assertFalse(call.isDone());
    answer();
    assertEquals("Bearer token-2", call.getNow(null));
  }

  @Test
  void aTokenThatExpiredOnItsWayIsNotUsed() {
    var call = credentials.header();
    pass(301_000);
    answer();
    failed(call, Status.Code.UNAVAILABLE, "expired on its way");
  }

  @Test
  void aFailureIsRememberedForTheBackoffAndNoLonger() {
    int requestsSoFar = 0;
    for (int backoff : new int[] {100, 200, 400}) {
      var call = credentials.header();
      assertEquals(++requestsSoFar, asked);
      fail(Status.Code.UNAVAILABLE);
      failed(call, Status.Code.UNAVAILABLE, "UNAVAILABLE");
      pass(backoff - 1);
      failed(credentials.header(), Status.Code.UNAVAILABLE, "UNAVAILABLE");
      assertEquals(requestsSoFar, asked);
      pass(1);
    }
    first();
  }

  @Test
  void backoffEndsAtThirtySeconds() {
    for (int i = 0; i < 70; i++) {
      pass(30_000);
      credentials.header();
      fail(Status.Code.UNAVAILABLE);
    }
    assertEquals(70, asked);
  }

  @Test
  void backoffBeginsAnewAfterAToken() {
    for (int i = 0; i < 5; i++) {
      credentials.header();
      fail(Status.Code.UNAVAILABLE);
      pass(30_000);
    }
    first();
    pass(300_000);
    credentials.header();
    fail(Status.Code.UNAVAILABLE);
    pass(100);
    credentials.header();
    assertEquals(8, asked);
  }

  @Test
  void honoursRetryInfo() {
    credentials.header();
    fail(
        Status.Code.RESOURCE_EXHAUSTED,
        RetryInfo.newBuilder().setRetryDelay(Durations.fromSeconds(7)).build());
    pass(6_999);
    failed(credentials.header(), Status.Code.UNAVAILABLE, "RESOURCE_EXHAUSTED");
    assertEquals(1, asked);
    pass(1);
    credentials.header();
    assertEquals(2, asked);
  }

  @Test
  void aWrongSecretIsNamedAndRememberedForASecond() {
    String reason = "CLIENT_AUTHENTICATION_FAILED";
    jitter = 0;
    var call = credentials.header();
    fail(
        Status.Code.UNAUTHENTICATED,
        ErrorInfo.newBuilder().setDomain("m2m.token.v1").setReason(reason).build());
    failed(call, Status.Code.UNAUTHENTICATED, reason);
    pass(999);
    failed(credentials.header(), Status.Code.UNAUTHENTICATED, reason);
    assertEquals(1, asked);
    pass(1);
    credentials.header();
    assertEquals(2, asked);
  }

  @Test
  void theIssuersWordsAreNotPassedOn() {
    var call = credentials.header();
    fail(Status.Code.UNAVAILABLE);
    var error = assertThrows(CompletionException.class, call::join);
    assertFalse(Status.fromThrowable(error).getDescription().contains("words of the issuer"));
  }

  @Test
  void aCallThatGivesUpDoesNotEndTheRequest() {
    var caller = Context.current().withCancellation();
    caller.cancel(null);
    caller.run(credentials::header);
    assertFalse(cancelled);
    answer();
    gives("Bearer token-1");
  }

  @Test
  void refusesAPlaintextConnection() {
    first();
    for (SecurityLevel level : new SecurityLevel[] {SecurityLevel.NONE, SecurityLevel.INTEGRITY}) {
      assertEquals(Status.Code.UNAUTHENTICATED, Applied.by(credentials, level).failure());
    }
    var encrypted = Applied.by(credentials, SecurityLevel.PRIVACY_AND_INTEGRITY);
    assertEquals("Bearer token-1", encrypted.header());
    assertThrows(
        IllegalArgumentException.class,
        () -> TokenCredentials.connect("localhost:1", InsecureChannelCredentials.create(), "a", "b", "c"));
  }

  @Test
  void printsNeitherSecretNorToken() {
    first();
    assertFalse(credentials.toString().contains("token-1"));
  }
}
