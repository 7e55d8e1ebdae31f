/**
 * The sources of access tokens.
 *
 * | source | a token from |
 * |---|---|
 * | `ClientCredentials` | an OAuth server, by the client's own credentials, over gRPC or HTTP |
 * | `TokenExchange` | the same, on behalf of the caller whom the program serves (RFC 8693) |
 * | `TokenFile` | a file that another program renews |
 * | `StaticToken` | the program's configuration |
 */

import { randomBytes } from 'node:crypto'
import { open } from 'node:fs/promises'
import { create, type DescMethodUnary, type MessageShape } from '@bufbuild/protobuf'
import type { ServiceError } from '@grpc/grpc-js'
import { importPKCS8, SignJWT } from 'jose'
import { duration, errorDetails, milliseconds } from './answers.js'
import { checkUrl } from './destinations.js'
import { decode, encode } from './encoding.js'
import { ERROR_DOMAIN } from './errors.js'
import { type ClientAuthentication, ClientAuthenticationSchema, ExchangeTokenRequestSchema, IssueTokenRequestSchema, type Token, TokenService } from './gen/m2m/token/v1/token_service_pb.js'
import { IssuerChannel } from './grpc-issuer.js'
import { HttpClient, metadataUrls } from './http-client.js'
import { LIFETIME_MAX } from './machine.js'
import { type Cause, IssuedToken, LIFETIME_DEFAULT, own, type Refusal, SourceError, type TokenRequest, type TokenSource } from './source.js'
import { parseClaims, parseObject } from './strict-json.js'
import { isOfTokenEndpoint, readToken } from './token-response.js'

const ASSERTION_TYPE = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer'
const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token'
const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange'
/** An attempt is given up a little earlier, in milliseconds. */
const GRPC_TIMEOUT = 31_000
/** The age at which an issuer's metadata are read again, in milliseconds. */
const METADATA_AGE_MAX = 3_600_000
/** The lifetime of a client assertion, in seconds. */
const ASSERTION_LIFETIME = 60

/** `private_key_jwt`: the client signs, the issuer has its public key. RFC 7523. */
export class PrivateKeyJwt {
  readonly #key: string

  /** `key`: PKCS #8 in PEM. `issuer`: the only audience of the assertions. */
  constructor(
    key: string,
    private readonly keyId: string,
    private readonly issuer: string,
    private readonly algorithm = 'ES256',
  ) {
    this.#key = key
  }

  /** Returns a new assertion: each is valid for one use. */
  async sign(clientId: string): Promise<string> {
    const now = Math.floor(Date.now() / 1_000)
    return new SignJWT({ jti: encode(randomBytes(16)) })
      .setProtectedHeader({ alg: this.algorithm, kid: this.keyId, typ: 'client-authentication+jwt' })
      .setIssuer(clientId)
      .setSubject(clientId)
      .setAudience(this.issuer)
      .setIssuedAt(now)
      .setExpirationTime(now + ASSERTION_LIFETIME)
      .sign(await importPKCS8(this.#key, this.algorithm))
  }
}

/** A client's credential: a secret, or a key. */
export type Credential = string | PrivateKeyJwt

/** An issuer of tokens. */
export interface Issuer {
  /** RFC 6749 section 4.4. `lifetime`: in milliseconds. */
  issue(client: ClientOf, request: TokenRequest, lifetime?: number): Promise<IssuedToken>
  /** RFC 8693. */
  exchange(client: ClientOf, request: TokenRequest, subject: string): Promise<IssuedToken>
}

/** A client and its credential. Its fields are not printed. */
export class ClientOf {
  readonly #credential: Credential

  constructor(
    readonly id: string,
    credential: Credential,
  ) {
    this.#credential = credential
  }

  /** The credential, a secret. */
  get credential(): Credential {
    return this.#credential
  }
}

/** An issuer of this project, over gRPC. It connects at first use. */
export class GrpcIssuer implements Issuer {
  readonly #channel: IssuerChannel

  /**
   * `roots`: the certificates, in PEM, that are trusted instead of Node's own. Plaintext: to this machine
   * only.
   */
  constructor(url: string, { roots }: { roots?: string | Buffer } = {}) {
    this.#channel = new IssuerChannel(url, roots)
  }

  async issue(client: ClientOf, { audience, scopes }: TokenRequest, lifetime?: number): Promise<IssuedToken> {
    const message = create(IssueTokenRequestSchema, {
      client: await proofOf(client),
      audiences: audience === undefined ? [] : [audience],
      scopes: [...scopes],
      ...(lifetime !== undefined && { lifetime: duration(lifetime) }),
    })
    return this.#ask(TokenService.method.issueToken, message)
  }

  async exchange(client: ClientOf, { audience, scopes }: TokenRequest, subject: string): Promise<IssuedToken> {
    const message = create(ExchangeTokenRequestSchema, {
      client: await proofOf(client),
      subject: { value: subject, type: ACCESS_TOKEN },
      audiences: audience === undefined ? [] : [audience],
      scopes: [...scopes],
    })
    return this.#ask(TokenService.method.exchangeToken, message)
  }

  /** Ends the connection. */
  close(): void {
    this.#channel.close()
  }

  async #ask<M extends DescMethodUnary>(method: M, message: MessageShape<M['input']>): Promise<IssuedToken> {
    let answer: { token?: Token }
    try {
      answer = (await this.#channel.unary(method, message, GRPC_TIMEOUT)) as { token?: Token }
    } catch (error) {
      throw grpcFailure(error as ServiceError)
    }
    const { token } = answer
    if (!token || !/^bearer$/i.test(token.tokenType)) throw new SourceError("the issuer's answer has no bearer token")
    const expiresIn = token.expiresIn ? milliseconds(token.expiresIn) : LIFETIME_DEFAULT
    try {
      return new IssuedToken(
        token.value,
        Math.min(Math.max(expiresIn, 0), LIFETIME_MAX),
        token.refreshAfter && milliseconds(token.refreshAfter),
      )
    } catch {
      throw new SourceError("the issuer's token is malformed")
    }
  }
}

async function proofOf({ id, credential }: ClientOf): Promise<ClientAuthentication> {
  if (typeof credential === 'string') {
    const secret = { case: 'clientSecret' as const, value: credential }
    return create(ClientAuthenticationSchema, { clientId: id, credential: secret })
  }
  const value = { type: ASSERTION_TYPE, value: await credential.sign(id) }
  return create(ClientAuthenticationSchema, { clientId: id, credential: { case: 'assertion', value } })
}

const REFUSAL_OF_REASON: Record<string, Refusal> = {
  CLIENT_AUTHENTICATION_FAILED: 'client_authentication',
  CREDENTIALS_MISSING: 'client_authentication',
  CLIENT_NOT_AUTHORIZED: 'client_not_authorized',
  CALLER_NOT_ALLOWED: 'client_not_authorized',
  INVALID_SCOPE: 'scope',
  SCOPE_INSUFFICIENT: 'scope',
  INVALID_TARGET: 'target',
  INVALID_GRANT: 'grant',
  INVALID_REQUEST: 'request',
  TOKEN_TOO_LARGE: 'request',
  UNSUPPORTED_GRANT_TYPE: 'request',
}
/**
 * For an issuer, or a proxy in front of it, that gives no reason: UNAUTHENTICATED, PERMISSION_DENIED,
 * INVALID_ARGUMENT.
 */
const REFUSAL_OF_CODE: Record<number, Refusal> = { 16: 'client_authentication', 7: 'client_not_authorized', 3: 'request' }
/** grpc-js tells the cause of a failed connection only in words. */
const CAUSE_OF_WORDS: readonly [RegExp, Cause][] = [
  [/self.signed certificate|unable to get (?:local )?issuer|unable to verify the first/i, 'untrusted_ca'],
  [/altnames|certificate has expired/i, 'certificate_invalid'],
  [/Name resolution failed|ENOTFOUND/, 'name_not_resolved'],
  [/ECONNREFUSED/, 'connection_refused'],
  [/EHOSTUNREACH|ENETUNREACH/, 'unreachable'],
]

/** Converts the issuer's status. Its message is dropped: it is meant for the issuer's log. */
function grpcFailure({ code, details, metadata }: ServiceError): SourceError {
  const found = errorDetails(metadata?.get('grpc-status-details-bin')[0])
  const retryAfter = found.retryAfter
  const hint = retryAfter === undefined ? {} : { retryAfter }
  if (found.domain === ERROR_DOMAIN && found.reason) {
    const refusal = REFUSAL_OF_REASON[found.reason]
    return new SourceError(`the issuer answered ${code}: ${found.reason}`, { ...(refusal && { refusal }), ...hint })
  }
  const words = CAUSE_OF_WORDS.find(([words]) => words.test(details ?? ''))?.[1] ?? 'connection_lost'
  const cause: Cause = code === 14 ? words : code === 4 ? 'timed_out' : 'answer'
  const refusal = REFUSAL_OF_CODE[code]
  return new SourceError(`the issuer could not be asked: ${code} (${cause})`, {
    ...(refusal && { refusal }),
    cause,
    ...hint,
  })
}

/** The settings of an `HttpIssuer`. */
export interface HttpIssuerOptions {
  /**
   * The parameter that names the audience. `none`: the server derives it from the scopes. Default:
   * `audience`.
   */
  audienceParameter?: 'audience' | 'resource' | 'none'
  /** The place of a secret. Default: the place that the metadata name, or else the header. */
  secretIn?: 'header' | 'form'
  /** Certificates in PEM that are trusted beside Node's own. */
  extraRoots?: string | Buffer
  http?: HttpClient
}

/** Any OAuth server with a token endpoint. RFC 6749, RFC 8414. */
export class HttpIssuer implements Issuer {
  readonly #http: HttpClient
  #discovered: { endpoint: string; secretIn: 'header' | 'form'; readAt: number } | undefined

  private constructor(
    private readonly issuer: string | undefined,
    private readonly tokenEndpoint: string | undefined,
    private readonly options: HttpIssuerOptions,
  ) {
    checkUrl(issuer ?? tokenEndpoint ?? '')
    this.#http = options.http ?? new HttpClient(options.extraRoots ? { extraRoots: options.extraRoots } : {})
  }

  /** An issuer that is found by its identifier: RFC 8414, OpenID Connect Discovery. */
  static discover(issuer: string, options: HttpIssuerOptions = {}): HttpIssuer {
    return new HttpIssuer(issuer, undefined, options)
  }

  /** An issuer by the URL of its token endpoint. */
  static at(tokenEndpoint: string, options: HttpIssuerOptions = {}): HttpIssuer {
    return new HttpIssuer(undefined, tokenEndpoint, options)
  }

  /** RFC 6749 section 4.4.2. The lifetime is the server's. */
  issue(client: ClientOf, request: TokenRequest): Promise<IssuedToken> {
    return this.#ask(client, request, { grant_type: 'client_credentials' })
  }

  /** RFC 8693 section 2.1. */
  exchange(client: ClientOf, request: TokenRequest, subject: string): Promise<IssuedToken> {
    const form = { grant_type: EXCHANGE, subject_token: subject, subject_token_type: ACCESS_TOKEN }
    return this.#ask(client, request, form)
  }

  async #ask({ id, credential }: ClientOf, request: TokenRequest, grant: Record<string, string>): Promise<IssuedToken> {
    const { endpoint, secretIn } = await this.#endpoint()
    const form = new URLSearchParams(grant)
    const { audienceParameter = 'audience' } = this.options
    if (request.audience !== undefined && audienceParameter !== 'none') form.set(audienceParameter, request.audience)
    if (request.scopes.length > 0) form.set('scope', request.scopeParameter)
    const headers: Record<string, string> = {}
    if (credential instanceof PrivateKeyJwt) {
      form.set('client_id', id)
      form.set('client_assertion_type', ASSERTION_TYPE)
      form.set('client_assertion', await credential.sign(id))
    } else if ((this.options.secretIn ?? secretIn) === 'form') {
      form.set('client_id', id)
      form.set('client_secret', credential)
    } else {
      // RFC 6749 section 2.3.1: both halves are form-encoded, so that a colon moves no border.
      const pair = `${formEncoded(id)}:${formEncoded(credential)}`
      headers['authorization'] = `Basic ${Buffer.from(pair).toString('base64')}`
    }
    let isThere = false
    try {
      const response = await this.#http.post(endpoint, form, headers)
      isThere = isOfTokenEndpoint(response)
      return readToken(response, Date.now())
    } catch (error) {
      isThere &&= error instanceof SourceError && !error.isTransient
      throw error
    } finally {
      // The endpoint may have moved, so the next request reads the metadata again.
      if (!isThere) this.#discovered = undefined
    }
  }

  async #endpoint(): Promise<{ endpoint: string; secretIn: 'header' | 'form' }> {
    if (this.tokenEndpoint !== undefined) return { endpoint: this.tokenEndpoint, secretIn: 'header' }
    const known = this.#discovered
    if (known && performance.now() - known.readAt < METADATA_AGE_MAX) return known
    try {
      this.#discovered = { ...(await this.#discover(this.issuer ?? '')), readAt: performance.now() }
      return this.#discovered
    } catch (error) {
      // The old endpoint may still be there.
      if (known) return known
      throw error
    }
  }

  async #discover(issuer: string): Promise<{ endpoint: string; secretIn: 'header' | 'form' }> {
    const { openid, oauth } = metadataUrls(issuer)
    let failure: unknown
    for (const url of [oauth, openid]) {
      try {
        const { status, body } = await this.#http.get(url)
        if (status !== 200) throw new SourceError(`the metadata are answered with ${status}`)
        return readMetadata(body, issuer)
      } catch (error) {
        failure = error instanceof SourceError ? error : new SourceError('the metadata are not a JSON object')
      }
    }
    throw failure
  }
}

function readMetadata(body: Uint8Array, issuer: string): { endpoint: string; secretIn: 'header' | 'form' } {
  const members = parseObject(body)
  // RFC 8414 section 3.3: another issuer's metadata would send this client's credentials elsewhere.
  if (members['issuer'] !== issuer) throw new SourceError('the metadata are those of another issuer')
  const endpoint = members['token_endpoint']
  if (typeof endpoint !== 'string' || !(endpoint.startsWith('https:') || issuer.startsWith('http:'))) {
    throw new SourceError('the metadata name no usable token endpoint')
  }
  const offered = members['token_endpoint_auth_methods_supported']
  const methods = Array.isArray(offered) ? offered : []
  const formOnly = methods.includes('client_secret_post') && !methods.includes('client_secret_basic')
  return { endpoint, secretIn: formOnly ? 'form' : 'header' }
}

function formEncoded(text: string): string {
  return new URLSearchParams([['', text]]).toString().slice(1)
}

/** The client credentials grant: the client's own token, by its own credentials. RFC 6749 section 4.4. */
export class ClientCredentials implements TokenSource {
  readonly #client: ClientOf

  /** `lifetime`: in milliseconds. An issuer of this project caps it; other issuers ignore it. */
  constructor(
    clientId: string,
    credential: Credential,
    private readonly issuer: Issuer,
    private readonly options: { lifetime?: number } = {},
  ) {
    this.#client = new ClientOf(clientId, credential)
  }

  async fetch(request: TokenRequest): Promise<IssuedToken> {
    own(request)
    return this.issuer.issue(this.#client, request, this.options.lifetime)
  }
}

/** Token exchange: the caller stays the subject, this client becomes the actor, and rights only narrow. */
export class TokenExchange implements TokenSource {
  readonly #client: ClientOf

  constructor(
    clientId: string,
    credential: Credential,
    private readonly issuer: Issuer,
  ) {
    this.#client = new ClientOf(clientId, credential)
  }

  async fetch(request: TokenRequest): Promise<IssuedToken> {
    const { subject } = request
    if (subject === undefined) throw new SourceError('there is no token to exchange', { refusal: 'request' })
    return this.issuer.exchange(this.#client, request, subject)
  }
}

/** The time before `exp` at which the token of a file counts as expired, in milliseconds. */
const EARLY = 30_000
/** The time before that at which the file is read again, and the least time that a token must have left. */
const REREAD = 60_000
const REST_MIN = 2_000
const FILE_BYTES_MAX = 64 * 1_024

/**
 * A file that another program renews: a Kubernetes projected token, a file of `token-server agent`. It
 * follows gRFC A97. The file is read at first use, again one minute before its token ends (30 s before
 * `exp`), and again when a server refuses the token. The program that writes the file chooses audience and
 * scopes.
 */
export class TokenFile implements TokenSource {
  constructor(
    private readonly path: string,
    private readonly clock: () => number = Date.now,
  ) {}

  async fetch(request: TokenRequest): Promise<IssuedToken> {
    own(request)
    const text = await this.#read()
    const expiresAt = expiryOf(text)
    if (expiresAt === undefined) {
      throw new SourceError('the token in the file is not a JWT with an exp', { refusal: 'token' })
    }
    const expiresIn = expiresAt - this.clock() - EARLY
    if (expiresIn < REST_MIN) throw new SourceError('the token in the file has expired')
    const refreshAfter = expiresIn - REREAD
    try {
      return new IssuedToken(text, expiresIn, refreshAfter > 0 ? refreshAfter : undefined)
    } catch {
      throw new SourceError('the token file holds no token', { refusal: 'token' })
    }
  }

  async #read(): Promise<string> {
    try {
      const file = await open(this.path)
      try {
        const { bytesRead, buffer } = await file.read(Buffer.alloc(FILE_BYTES_MAX), 0, FILE_BYTES_MAX)
        return buffer.subarray(0, bytesRead).toString('latin1').trim()
      } finally {
        await file.close()
      }
    } catch (error) {
      throw new SourceError(`the token file cannot be read: ${(error as { code?: string }).code ?? 'unknown'}`)
    }
  }
}

/** Returns `exp`, unverified (RFC 7519 section 4.1.4), in milliseconds. */
function expiryOf(token: string): number | undefined {
  const parts = token.split('.')
  const claims = parts.length === 3 ? decode(parts[1] ?? '') : undefined
  try {
    const expiry = claims && parseClaims(claims).members['exp']
    return typeof expiry === 'number' && expiry >= 0 ? expiry * 1_000 : undefined
  } catch {
    return undefined
  }
}

/** A token from the program's configuration, for any audience and scopes. */
export class StaticToken implements TokenSource {
  readonly #issued: IssuedToken

  /** `expiresIn`: the milliseconds after which the same token is taken again. */
  constructor(token: string, expiresIn = 3_600_000) {
    this.#issued = new IssuedToken(token, expiresIn)
  }

  async fetch(request: TokenRequest): Promise<IssuedToken> {
    own(request)
    return this.#issued
  }
}
