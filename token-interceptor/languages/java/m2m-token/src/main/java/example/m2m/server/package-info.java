/**
 * The server layer: it admits only calls with a token that meets the policy of the called method.
 *
 * <pre>{@code
 * var verifier = Verifier.builder().issuer(TrustedIssuer.discover("https://tokens.example.com")).build();
 * var server = Authorization.of(verifier)
 *     .around(Grpc.newServerBuilderForPort(8443, tls))
 *     .addService(new Inventory())
 *     .build()
 *     .start();
 * }</pre>
 */
package example.m2m.server;
