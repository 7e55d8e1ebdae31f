package example.m2m.server;

import example.m2m.verify.Verifier;
import example.m2m.verify.VerifyException;

/** Callers for tests of other packages. */
public final class Callers {
  private Callers() {}

  /** Returns the caller of a verified token. */
  public static Caller of(Verifier verifier, String token, String audience) throws VerifyException {
    return new Caller(verifier.verify(token, audience), token);
  }
}
