/** HTTP for tokens and key sets: no redirects, bounded answers, TLS beyond this machine. */

import { request as requestPlain } from 'node:http'
import { Agent, request as requestSecure, type RequestOptions } from 'node:https'
import { isIP } from 'node:net'
import { connect, rootCertificates } from 'node:tls'
import { checkUrl } from './destinations.js'
import { bare, proxyOf, tunnel } from './proxy.js'
import { type Cause, SourceError } from './source.js'
import type { HttpResponse } from './token-response.js'

/** The longest answer, in bytes. */
const ANSWER_BYTES_MAX = 256 * 1_024

/** The causes of the error codes of Node and OpenSSL. */
const CAUSES: Record<string, Cause> = {
  UNABLE_TO_GET_ISSUER_CERT: 'untrusted_ca',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'untrusted_ca',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'untrusted_ca',
  SELF_SIGNED_CERT_IN_CHAIN: 'untrusted_ca',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'untrusted_ca',
  CERT_HAS_EXPIRED: 'certificate_invalid',
  CERT_NOT_YET_VALID: 'certificate_invalid',
  ERR_TLS_CERT_ALTNAME_INVALID: 'certificate_invalid',
  ENOTFOUND: 'name_not_resolved',
  EAI_AGAIN: 'name_not_resolved',
  ECONNREFUSED: 'connection_refused',
  EHOSTUNREACH: 'unreachable',
  ENETUNREACH: 'unreachable',
  ETIMEDOUT: 'timed_out',
  ECONNRESET: 'connection_lost',
  EPIPE: 'connection_lost',
}

/** An HTTP client. Its proxy is that of the environment. */
export class HttpClient {
  readonly #agent: Agent
  readonly #trust: { ca?: string[] }
  readonly #timeout: number

  /** `extraRoots`: certificates in PEM that are trusted beside Node's own. `timeout`: in milliseconds. */
  constructor({ extraRoots, timeout = 31_000 }: { extraRoots?: string | Buffer; timeout?: number } = {}) {
    this.#trust = extraRoots ? { ca: [...rootCertificates, String(extraRoots)] } : {}
    this.#agent = new Agent(this.#trust)
    this.#timeout = timeout
  }

  /** Fetches a document. Rejects with SourceError when there is no answer. */
  get(url: string): Promise<HttpResponse> {
    return this.#exchange(url, 'GET', { accept: 'application/json' })
  }

  /** Posts a form. Rejects with SourceError when there is no answer. */
  post(url: string, form: URLSearchParams, headers: Record<string, string>): Promise<HttpResponse> {
    const body = form.toString()
    return this.#exchange(
      url,
      'POST',
      {
        accept: 'application/json',
        'content-type': 'application/x-www-form-urlencoded',
        'content-length': String(Buffer.byteLength(body)),
        ...headers,
      },
      body,
    )
  }

  async #exchange(
    address: string,
    method: string,
    headers: Record<string, string>,
    body?: string,
  ): Promise<HttpResponse> {
    const url = checkUrl(address)
    const signal = AbortSignal.timeout(this.#timeout)
    const connection = url.protocol === 'https:' ? await this.#connection(url, signal) : {}
    return new Promise((resolve, reject) => {
      const fail = (cause: Cause) => reject(new SourceError(`no answer over HTTP: ${cause}`, { cause }))
      const send = url.protocol === 'https:' ? requestSecure : requestPlain
      const request = send(url, { method, headers, signal, ...connection })
      request.on('error', (error) => fail(causeOf(error)))
      request.on('response', (response) => {
        const chunks: Buffer[] = []
        let bytes = 0
        response.on('data', (chunk: Buffer) => {
          bytes += chunk.length
          if (bytes > ANSWER_BYTES_MAX) {
            reject(new SourceError('the answer is too long'))
            request.destroy()
          } else chunks.push(chunk)
        })
        response.on('error', (error) => fail(causeOf(error)))
        response.on('end', () => {
          const found: Record<string, string> = {}
          for (const [name, value] of Object.entries(response.headers)) found[name] = String(value)
          resolve({ status: response.statusCode ?? 0, headers: found, body: Buffer.concat(chunks) })
        })
      })
      request.end(body)
    })
  }

  /** Returns the options of a connection over TLS: directly, or in a tunnel through the proxy. */
  async #connection(url: URL, signal: AbortSignal): Promise<RequestOptions> {
    try {
      const proxy = proxyOf(url)
      if (!proxy) return { agent: this.#agent }
      const socket = await tunnel(proxy, url, signal)
      const host = bare(url.hostname)
      return { createConnection: () => connect({ ...this.#trust, socket, host, servername: isIP(host) ? '' : host }) }
    } catch (error) {
      const cause = causeOf(error)
      throw new SourceError(`no answer over HTTP: ${cause}`, { cause })
    }
  }
}

/** Returns the class of a failure to connect. */
export function causeOf(error: unknown): Cause {
  const { code, name } = error as { code?: unknown; name?: unknown }
  if (name === 'TimeoutError' || name === 'AbortError') return 'timed_out'
  return (typeof code === 'string' && CAUSES[code]) || 'connection_lost'
}

/** Returns the URLs of an issuer's metadata: OpenID Connect Discovery, and RFC 8414 section 3.1. */
export function metadataUrls(issuer: string): { openid: string; oauth: string } {
  const { origin, pathname } = new URL(issuer)
  const path = pathname.replace(/\/+$/, '')
  return {
    openid: `${origin}${path}/.well-known/openid-configuration`,
    oauth: `${origin}/.well-known/oauth-authorization-server${path}`,
  }
}
