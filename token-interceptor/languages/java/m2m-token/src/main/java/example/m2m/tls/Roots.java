package example.m2m.tls;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyStore;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

/** The roots of a file, for connections over HTTP to an issuer with a certificate authority of its own. */
public final class Roots {
  private Roots() {}

  /**
   * Returns a context that trusts the certificates of a PEM file, and no others.
   *
   * @throws IOException when the file cannot be read
   * @throws IllegalArgumentException when it holds no certificate
   */
  public static SSLContext of(Path pem) throws IOException {
    try (var file = Files.newInputStream(pem)) {
      KeyStore roots = KeyStore.getInstance(KeyStore.getDefaultType());
      roots.load(null, null);
      for (Certificate certificate : CertificateFactory.getInstance("X.509").generateCertificates(file)) {
        roots.setCertificateEntry("root-" + roots.size(), certificate);
      }
      if (roots.size() == 0) {
        throw new IllegalArgumentException(pem + " holds no certificate");
      }
      var trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
      trust.init(roots);
      SSLContext context = SSLContext.getInstance("TLS");
      context.init(null, trust.getTrustManagers(), null);
      return context;
    } catch (GeneralSecurityException unusable) {
      throw new IllegalArgumentException(pem + " holds no usable certificate", unusable);
    }
  }
}
