package example.m2m.conformance;

import com.google.protobuf.Any;
import com.google.rpc.ErrorInfo;
import example.m2m.client.ClientCredentials;
import example.m2m.client.Issuer;
import example.m2m.client.Tokens;
import example.m2m.conformance.v1.Call;
import example.m2m.conformance.v1.CallResult;
import example.m2m.conformance.v1.ClientCase;
import example.m2m.conformance.v1.ClientResult;
import example.m2m.conformance.v1.IssuerAnswer;
import example.m2m.conformance.v1.ServerAnswer;
import example.m2m.conformance.v1.TokenRequest;
import example.m2m.internal.HttpAnswer;
import example.m2m.internal.HttpTransport;
import example.m2m.status.Answer;
import example.m2m.status.Mark;
import io.grpc.CallCredentials;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptors;
import io.grpc.Deadline;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.protobuf.StatusProto;
import java.io.IOException;
import java.net.ConnectException;
import java.net.URI;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Queue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.TimeUnit;

/** Client cases: the layer around a scripted channel, on simulated time. */
final class ClientCases {
  private static final int PENDING = -1;

  private final ClientCase testCase;
  private final Simulation simulation;
  private final Dynamic services;
  private final ClientResult.Builder result = ClientResult.newBuilder();
  private final List<CallResult.Builder> calls = new ArrayList<>();

  ClientCases(ClientCase testCase) throws Exception {
    this.testCase = testCase;
    this.simulation =
        new Simulation(Instant.ofEpochSecond(testCase.getStart().getSeconds()), testCase.getDraw());
    this.services = new Dynamic(testCase.getDescriptors());
  }

  ClientResult run() {
    testCase.getJumpsList().forEach(jump -> simulation.jump(duration(jump.getAt()), duration(jump.getBy())));
    var issuer =
        Issuer.tokenEndpoint(URI.create("https://issuer.example/token"), new Scripted(), simulation);
    var builder = Tokens.builder(ClientCredentials.secret("orders", "secret", issuer)).timeline(simulation);
    if (testCase.getSharingCount() > 0) {
      builder.sharing(
          services.services().stream().map(service -> services.described(service.getFullName())).toList(),
          testCase.getSharingList().toArray(String[]::new));
    }
    Tokens tokens = builder.build();
    for (Call call : testCase.getCallsList()) {
      var outcome = CallResult.newBuilder().setCode(PENDING);
      calls.add(outcome);
      simulation.at(duration(call.getAt()).toNanos(), () -> start(tokens, call, outcome));
    }
    simulation.runUntil(duration(testCase.getUntil()));
    calls.stream()
        .filter(outcome -> outcome.getCode() == PENDING)
        .forEach(outcome -> outcome.setAt(testCase.getUntil()));
    return result.addAllCalls(calls.stream().map(CallResult.Builder::build).toList()).build();
  }

  private void start(Tokens tokens, Call call, CallResult.Builder outcome) {
    CallOptions options = CallOptions.DEFAULT;
    if (call.hasDeadline()) {
      long nanos = duration(call.getDeadline()).toNanos();
      options = options.withDeadline(Deadline.after(nanos, TimeUnit.NANOSECONDS, new Ticker()));
    }
    Channel channel = ClientInterceptors.intercept(new Callee(call, outcome), tokens.interceptor());
    ClientCall<byte[], byte[]> started = channel.newCall(services.method(call.getMethod()), options);
    started.start(
        new ClientCall.Listener<>() {
          @Override
          public void onClose(Status status, Metadata trailers) {
            outcome.setAt(proto(simulation.nanos())).setCode(status.getCode().value());
            outcome.setReason(reason(status, trailers)).addAllMarks(Mark.values(trailers));
          }
        },
        new Metadata());
    started.request(2);
    started.sendMessage(new byte[0]);
    started.halfClose();
  }

  private final class Ticker extends Deadline.Ticker {
    @Override
    public long nanoTime() {
      return simulation.nanos();
    }
  }

  private static String reason(Status status, Metadata trailers) {
    try {
      for (Any detail : StatusProto.fromStatusAndTrailers(status, trailers).getDetailsList()) {
        if (detail.is(ErrorInfo.class)) {
          return detail.unpack(ErrorInfo.class).getReason();
        }
      }
      return "";
    } catch (IOException unreadable) {
      return unreadable.toString();
    }
  }

  /** The issuer that follows the script. */
  private final class Scripted implements HttpTransport {
    private final Queue<IssuerAnswer> answers = new ArrayDeque<>(testCase.getAnswersList());

    @Override
    public CompletionStage<HttpAnswer> get(URI url) {
      return CompletableFuture.failedFuture(new IOException("there are no metadata"));
    }

    @Override
    public CompletionStage<HttpAnswer> post(URI url, String form, Optional<String> authorization) {
      Map<String, String> fields = fields(form);
      var request = TokenRequest.newBuilder().setAt(proto(simulation.nanos()));
      request.setAudience(fields.getOrDefault("audience", ""));
      for (String scope : fields.getOrDefault("scope", "").split(" ")) {
        if (!scope.isEmpty()) {
          request.addScopes(scope);
        }
      }
      result.addRequests(request);
      var outcome = new CompletableFuture<HttpAnswer>();
      IssuerAnswer answer = answers.poll();
      if (answer != null) {
        simulation.after(duration(answer.getDelay()), () -> complete(outcome, answer));
      }
      return outcome;
    }

    private void complete(CompletableFuture<HttpAnswer> outcome, IssuerAnswer answer) {
      if (answer.getConnectionFailed()) {
        outcome.completeExceptionally(new ConnectException());
        return;
      }
      var headers = new HashMap<String, String>();
      if (!answer.getRetryAfter().isEmpty()) {
        headers.put("retry-after", answer.getRetryAfter());
      }
      outcome.complete(new HttpAnswer(answer.getStatus(), headers, answer.getBody().toByteArray()));
    }
  }

  private static Map<String, String> fields(String form) {
    var fields = new HashMap<String, String>();
    for (String field : form.split("&")) {
      int border = field.indexOf('=');
      fields.put(decode(field.substring(0, border)), decode(field.substring(border + 1)));
    }
    return fields;
  }

  private static String decode(String text) {
    return URLDecoder.decode(text, StandardCharsets.UTF_8);
  }

  /** The called server, which answers once it has read the request. */
  private static final class Callee extends Channel {
    private final Queue<ServerAnswer> answers;
    private final CallResult.Builder outcome;

    Callee(Call call, CallResult.Builder outcome) {
      this.answers = new ArrayDeque<>(call.getAnswersList());
      this.outcome = outcome;
    }

    @Override
    public String authority() {
      return "localhost";
    }

    @Override
    public <Q, A> ClientCall<Q, A> newCall(io.grpc.MethodDescriptor<Q, A> method, CallOptions options) {
      return new ClientCall<>() {
        private Listener<A> listener;

        @Override
        public void start(Listener<A> responses, Metadata headers) {
          listener = responses;
        }

        @Override
        public void request(int messages) {}

        @Override
        public void cancel(String message, Throwable cause) {}

        @Override
        public void sendMessage(Q message) {}

        @Override
        public void halfClose() {
          outcome.addAttempts(Credentials.token(options.getCredentials(), method));
          ServerAnswer answer = Optional.ofNullable(answers.poll()).orElse(ServerAnswer.getDefaultInstance());
          var trailers = new Metadata();
          Status status = Status.fromCodeValue(answer.getCode());
          if (status.isOk()) {
            listener.onHeaders(new Metadata());
          } else if (!answer.getReason().isEmpty()) {
            trailers = details(answer);
          }
          Metadata sent = trailers;
          answer.getMarksList().forEach(mark -> sent.put(Mark.KEY, mark));
          listener.onClose(status, sent);
        }
      };
    }

    private static Metadata details(ServerAnswer answer) {
      var info = ErrorInfo.newBuilder().setReason(answer.getReason()).setDomain(Answer.DOMAIN).build();
      var status = com.google.rpc.Status.newBuilder().setCode(answer.getCode()).addDetails(Any.pack(info));
      return StatusProto.toStatusException(status.build()).getTrailers();
    }
  }

  /** The transport's part of call credentials, on a connection over TLS. */
  private static final class Credentials extends CallCredentials.MetadataApplier {
    private static final Metadata.Key<String> AUTHORIZATION =
        Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);
    private static final String SCHEME = "Bearer ";

    private Metadata applied = new Metadata();

    static String token(CallCredentials credentials, io.grpc.MethodDescriptor<?, ?> method) {
      var applier = new Credentials();
      if (credentials != null) {
        credentials.applyRequestMetadata(new OverTls(method), Runnable::run, applier);
      }
      String header = Optional.ofNullable(applier.applied.get(AUTHORIZATION)).orElse(SCHEME);
      return header.substring(SCHEME.length());
    }

    @Override
    public void apply(Metadata headers) {
      applied = headers;
    }

    @Override
    public void fail(Status status) {
      throw status.asRuntimeException();
    }
  }

  private static final class OverTls extends CallCredentials.RequestInfo {
    private final io.grpc.MethodDescriptor<?, ?> method;

    OverTls(io.grpc.MethodDescriptor<?, ?> method) {
      this.method = method;
    }

    @Override
    public io.grpc.MethodDescriptor<?, ?> getMethodDescriptor() {
      return method;
    }

    @Override
    public io.grpc.SecurityLevel getSecurityLevel() {
      return io.grpc.SecurityLevel.PRIVACY_AND_INTEGRITY;
    }

    @Override
    public String getAuthority() {
      return "localhost";
    }

    @Override
    public io.grpc.Attributes getTransportAttrs() {
      return io.grpc.Attributes.EMPTY;
    }
  }

  private static Duration duration(com.google.protobuf.Duration duration) {
    return Duration.ofSeconds(duration.getSeconds(), duration.getNanos());
  }

  private static com.google.protobuf.Duration proto(long nanos) {
    long second = TimeUnit.SECONDS.toNanos(1);
    return com.google.protobuf.Duration.newBuilder()
        .setSeconds(nanos / second)
        .setNanos((int) (nanos % second))
        .build();
  }
}
