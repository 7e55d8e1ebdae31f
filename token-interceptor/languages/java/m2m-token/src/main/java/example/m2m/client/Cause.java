package example.m2m.client;

import io.grpc.StatusException;
import io.grpc.StatusRuntimeException;
import java.io.IOException;
import java.net.ConnectException;
import java.net.NoRouteToHostException;
import java.net.UnknownHostException;
import java.net.http.HttpTimeoutException;
import java.nio.channels.UnresolvedAddressException;
import java.security.cert.CertPathBuilderException;
import java.util.Locale;
import java.util.concurrent.TimeoutException;
import javax.net.ssl.SSLException;

/**
 * The class of an outage: the first thing for an operator to check. It holds no host and no text of the
 * issuer.
 */
public enum Cause {
  /** The issuer's certificate comes from a CA that is not trusted here. */
  UNTRUSTED_CA("the issuer's certificate comes from a CA that is not trusted here"),
  /** The issuer's certificate is not valid for it. */
  CERTIFICATE_INVALID("the issuer's certificate is not valid for it"),
  /** The issuer's name does not resolve. */
  NAME_NOT_RESOLVED("the issuer's name does not resolve"),
  /** No program listens at the issuer's address. */
  CONNECTION_REFUSED("nothing listens at the issuer's address"),
  /** No route leads to the issuer. */
  UNREACHABLE("no route leads to the issuer"),
  /** The connection broke off. */
  CONNECTION_LOST("the connection to the issuer broke off"),
  /** No answer came in time. */
  TIMED_OUT("the issuer did not answer in time"),
  /** The token had expired on arrival. */
  EXPIRED_ON_ARRIVAL("the token had expired when it arrived"),
  /** The issuer answered without a token. */
  ANSWER("the issuer answered, and not with a token");

  private final String sentence;

  Cause(String sentence) {
    this.sentence = sentence;
  }

  /** Returns a stable name, such as {@code untrusted_ca}. */
  public String text() {
    return name().toLowerCase(Locale.ROOT);
  }

  String sentence() {
    return sentence + " (" + text() + ")";
  }

  /** Returns the class of the innermost error that has one. */
  static Cause of(Throwable error) {
    Cause found = ANSWER;
    int depth = 0;
    for (Throwable next = error; next != null && depth < 20; next = next.getCause(), depth++) {
      found = ofOne(next, found);
    }
    return found;
  }

  private static Cause ofOne(Throwable error, Cause outer) {
    if (error instanceof StatusRuntimeException || error instanceof StatusException) {
      return io.grpc.Status.fromThrowable(error).getCode() == io.grpc.Status.Code.DEADLINE_EXCEEDED
          ? TIMED_OUT
          : outer;
    }
    if (error instanceof CertPathBuilderException) {
      return UNTRUSTED_CA;
    }
    if (error instanceof java.security.cert.CertificateException) {
      return outer == UNTRUSTED_CA ? outer : CERTIFICATE_INVALID;
    }
    if (error instanceof SSLException) {
      return CONNECTION_LOST;
    }
    if (error instanceof UnresolvedAddressException || error instanceof UnknownHostException) {
      return NAME_NOT_RESOLVED;
    }
    if (error instanceof NoRouteToHostException) {
      return UNREACHABLE;
    }
    if (error instanceof HttpTimeoutException || error instanceof TimeoutException) {
      return TIMED_OUT;
    }
    if (error instanceof ConnectException) {
      return CONNECTION_REFUSED;
    }
    return error instanceof IOException && outer == ANSWER ? CONNECTION_LOST : outer;
  }
}
