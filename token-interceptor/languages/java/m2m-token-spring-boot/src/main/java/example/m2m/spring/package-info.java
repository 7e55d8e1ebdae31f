/**
 * The auto-configuration for applications with {@code spring.grpc}. It needs this dependency and the
 * properties {@code m2m.token.issuer}, {@code m2m.token.client-id} and {@code m2m.token.client-secret}.
 */
package example.m2m.spring;
