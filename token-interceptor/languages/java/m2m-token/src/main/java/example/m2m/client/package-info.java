/**
 * The client layer: each call carries the token that its method demands.
 *
 * <pre>{@code
 * var issuer = Issuer.http("https://tokens.example.com"); var tokens =
 * Tokens.of(ClientCredentials.secret("orders", secret, issuer)); var channel =
 * Grpc.newChannelBuilder("inventory.example.com:8443", tls).intercept(tokens.interceptor()).build(); }</pre>
 */
package example.m2m.client;
