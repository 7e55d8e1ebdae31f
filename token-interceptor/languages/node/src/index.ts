/**
 * Access tokens for gRPC clients and servers, driven by the `m2m.auth.v1` annotations of the called services.
 *
 * A client: `ClientTokens`, with a source such as `ClientCredentials`. A server: `TokenServer`, with a
 * trusted issuer such as that of `discover`. Both take a `Policy`, read from descriptors.
 */

export { ClientTokens, type ClientTokensOptions } from './client.js'
export { PlaintextRefused } from './destinations.js'
export { type Check, Denied, PolicyError } from './errors.js'
export { discover, type FetchOptions, jwks, watch } from './issuers.js'
export type { Freshness, KeySource } from './key-sources.js'
export { type Algorithm, KeySet } from './keys.js'
export { currentCaller, Layer, type LayerOptions } from './layer.js'
export type { Log } from './log.js'
export { Policy } from './policy.js'
export { policyOf, protoFolder, type ProtoOptions } from './protos.js'
export { Revocations } from './revocations.js'
export { authorization, callerOf, TokenServer, type TokenServerOptions } from './server.js'
export { type Cause, IssuedToken, type Refusal, SourceError, TokenRequest, type TokenSource } from './source.js'
export {
  ClientCredentials,
  type Credential,
  GrpcIssuer,
  HttpIssuer,
  type HttpIssuerOptions,
  type Issuer,
  PrivateKeyJwt,
  StaticToken,
  TokenExchange,
  TokenFile,
} from './sources.js'
export { type Actor, Caller } from './token.js'
export { type Limits, TrustedIssuer, Verifier } from './verify.js'
