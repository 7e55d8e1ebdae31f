/**
 * The client side: every call carries the token that its method demands, as the annotations say.
 *
 * A channel of `ClientTokens` attaches tokens, renews them in the background, and sends a unary call once
 * more, with a new token, when the called server's own layer refused the old one before the handler.
 */

import {
  type CallCredentials,
  Channel,
  type ChannelCredentials,
  type ClientOptions,
  credentials as grpcCredentials,
  Metadata,
} from '@grpc/grpc-js'
import { Answer } from './answers.js'
import { AttachedChannel, type Attaching, type Carried, obtain } from './attached.js'
import { bearer } from './bearer.js'
import { type Failure, failed, Needs, noToken, Tokens, tooSlow, untilOf, WAIT_MAX } from './calls.js'
import { checkTarget } from './destinations.js'
import { NoToken, type Ready, type Runtime, systemRuntime } from './keeper.js'
import { currentCaller } from './layer.js'
import type { Log } from './log.js'
import type { Policy } from './policy.js'
import type { TokenSource } from './source.js'

/** The settings of `ClientTokens`. */
export interface ClientTokensOptions {
  /** The source of the tokens. */
  source: TokenSource
  /** The policy of the called services, from their descriptors. */
  policy: Policy
  /**
   * True to call on behalf of the caller whom the program serves. Each call gets a token in exchange for
   * the caller's, so the source is `TokenExchange`. A call without a caller fails.
   */
  onBehalfOfCaller?: boolean
  /** The longest wait of a call for a token, besides its own deadline, in milliseconds. Default: 10 s. */
  waitMax?: number
  /** Takes the log's lines. Default: none. */
  log?: Log
  /** The clocks and timers. Default: the machine's. */
  runtime?: Runtime
}

/** The tokens of a program. Its channels share them. */
export class ClientTokens {
  readonly #tokens: Tokens
  readonly #needs: Needs
  readonly #options: ClientTokensOptions
  readonly #runtime: Runtime
  readonly #attaching: Attaching
  /** The tokens of the methods that were called. */
  readonly #routes = new Map<string, Carried>()

  constructor(options: ClientTokensOptions) {
    this.#options = options
    this.#runtime = options.runtime ?? systemRuntime
    this.#tokens = new Tokens(options.source, this.#runtime, options.log)
    this.#needs = new Needs(options.policy.call())
    this.#attaching = {
      runtime: this.#runtime,
      waitMax: options.waitMax ?? WAIT_MAX,
      carried: (path, metadata, caller) => this.#carried(path, metadata, caller?.bearer),
    }
  }

  /**
   * Makes the named methods share one token for each audience, with the scopes that they demand together. A
   * name is a path, `/package.Service/Method`, or a prefix and a `*`. By default each method has its own
   * request, so that a token that leaks from a read cannot write. Throws TypeError for an unknown name.
   */
  share(...methods: string[]): this {
    this.#needs.share(methods)
    this.#routes.clear()
    return this
  }

  /** Forbids that calls of the named methods are sent twice. Names and errors are those of `share`. */
  neverReplay(...methods: string[]): this {
    this.#needs.neverReplay(methods)
    this.#routes.clear()
    return this
  }

  /**
   * Returns the arguments of a client's constructor: `new InventoryService(...tokens.to(target,
   * credentials))`. Throws PlaintextRefused for a plaintext channel to another machine.
   */
  to(
    target: string,
    credentials: ChannelCredentials,
    options: ClientOptions = {},
  ): [string, ChannelCredentials, ClientOptions] {
    if (!credentials._isSecure()) checkTarget(target)
    const { channelOverride, channelFactoryOverride = (...of) => new Channel(...of), ...rest } = options
    const attached: NonNullable<ClientOptions['channelFactoryOverride']> = (...of) =>
      new AttachedChannel(channelOverride ?? channelFactoryOverride(...of), this.#attaching)
    return [target, credentials, { ...rest, channelFactoryOverride: attached }]
  }

  /**
   * Returns call credentials, for a channel of the program's own. They send no call twice. Combine them
   * with channel credentials: grpc-js sends those of a single call over plaintext too.
   */
  callCredentials(): CallCredentials {
    return grpcCredentials.createFromMetadataGenerator(({ service_url, method_name }, done) => {
      const path = `${new URL(service_url).pathname}/${method_name}`
      const carried = this.#carried(path, new Metadata(), currentCaller()?.bearer)
      if ('failure' in carried) return done(errorOf(carried.failure))
      if (!carried.token) return done(null, new Metadata())
      const { keeper, need } = carried.token
      const settle = (outcome?: Ready | NoToken) => {
        const metadata = new Metadata()
        if (outcome && !(outcome instanceof NoToken)) metadata.set('authorization', outcome.header)
        else if (!need.optional) return done(errorOf(outcome ? noToken(outcome) : tooSlow()))
        done(null, metadata)
      }
      const ready = keeper.ready()
      const until = untilOf({ ...need, waitMax: this.#options.waitMax }, this.#runtime)
      if (ready) settle(ready)
      else obtain({ kind: 'obtain', keeper, until, rejected: 0 }, this.#runtime, settle)
    })
  }

  /** Ends the renewal of the tokens. */
  close(): void {
    this.#tokens.close()
  }

  /** Returns the token of a call, or nothing for one that keeps its own metadata. */
  #carried(path: string, metadata: Metadata, callers: string | undefined): Carried {
    const brought = metadata.get('authorization')
    const { onBehalfOfCaller } = this.#options
    if (brought.length > 0) {
      // The caller's token was issued for this program, so it is never passed on.
      if (!isToken(brought, callers)) {
        if (!onBehalfOfCaller) return {}
        const sentence = 'the call brings an authorization header of its own, on behalf of a caller: remove it'
        return { failure: failed(new Answer('PRECONDITION_FAILED', sentence)) }
      }
      metadata.remove('authorization')
    }
    const known = this.#routes.get(path)
    if (known) return known
    const need = this.#needs.of(path)
    const { request } = need
    if (!request) return {}
    if (!onBehalfOfCaller) {
      const carried = { token: { keeper: this.#tokens.of(request), need } }
      this.#routes.set(path, carried)
      return carried
    }
    if (callers === undefined) {
      if (need.optional) return {}
      const sentence = 'this channel calls on behalf of a caller, and there is none'
      return { failure: failed(new Answer('PRECONDITION_FAILED', sentence)) }
    }
    return { token: { keeper: this.#tokens.of(request.onBehalfOf(callers)), need } }
  }
}

function errorOf({ code, message }: Failure): Error {
  return Object.assign(new Error(message), { code, details: message })
}

function isToken(values: readonly (string | Buffer)[], token: string | undefined): boolean {
  try {
    return bearer(values) === token
  } catch {
    return false
  }
}
