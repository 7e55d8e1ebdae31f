/**
 * The client side: every call carries the token that its method demands, as the annotations say.
 *
 * A channel of `ClientTokens` attaches tokens, renews them in the background, and sends a unary call once
 * more, with a new token, when the called server's own layer refused the old one before the handler.
 */

import {
  type CallCredentials,
  type ChannelCredentials,
  type ClientOptions,
  credentials as grpcCredentials,
  InterceptingCall,
  type InterceptingListener,
  type Interceptor,
  type InterceptorOptions,
  Metadata,
  type NextCall,
  type StatusObject,
} from '@grpc/grpc-js'
import { Answer, errorDetails, MARK } from './answers.js'
import { bearer } from './bearer.js'
import { type Failure, failed, Needs, noToken, procedure, type Procedure, refusedStage, type Reply, type Step, Tokens, tooSlow, WAIT_MAX } from './calls.js'
import { checkTarget } from './destinations.js'
import { type Keeper, NoToken, type Ready, type Runtime, systemRuntime } from './keeper.js'
import { currentCaller } from './layer.js'
import type { Log } from './log.js'
import type { Policy } from './policy.js'
import type { TokenSource } from './source.js'

/** The call of grpc-js that an interceptor goes on with. */
type Inner = ReturnType<NextCall>
type MessageContext = Parameters<Inner['sendMessageWithContext']>[0]

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

  constructor(options: ClientTokensOptions) {
    this.#options = options
    this.#runtime = options.runtime ?? systemRuntime
    this.#tokens = new Tokens(options.source, this.#runtime, options.log)
    this.#needs = new Needs(options.policy.call())
  }

  /**
   * Makes the named methods share one token for each audience, with the scopes that they demand together. A
   * name is a path, `/package.Service/Method`, or a prefix and a `*`. By default each method has its own
   * request, so that a token that leaks from a read cannot write. Throws TypeError for an unknown name.
   */
  share(...methods: string[]): this {
    this.#needs.share(methods)
    return this
  }

  /** Forbids that calls of the named methods are sent twice. Names and errors are those of `share`. */
  neverReplay(...methods: string[]): this {
    this.#needs.neverReplay(methods)
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
    return [target, credentials, { ...options, interceptors: [...(options.interceptors ?? []), this.#interceptor] }]
  }

  /**
   * Returns call credentials, for a channel of the program's own. They send no call twice. Combine them
   * with channel credentials: grpc-js sends those of a single call over plaintext too.
   */
  callCredentials(): CallCredentials {
    return grpcCredentials.createFromMetadataGenerator(({ service_url, method_name }, done) => {
      const { request } = this.#needs.of(`${new URL(service_url).pathname}/${method_name}`)
      if (!request) return done(null, new Metadata())
      const until = this.#runtime.now().monotonic + (this.#options.waitMax ?? WAIT_MAX)
      const keeper = this.#tokens.of(request)
      const ready = keeper.ready()
      const settle = (outcome?: Ready | NoToken) => {
        if (outcome && !(outcome instanceof NoToken)) {
          const metadata = new Metadata()
          metadata.set('authorization', `Bearer ${outcome.value}`)
          return done(null, metadata)
        }
        const { code, message } = outcome ? noToken(outcome) : tooSlow()
        done(Object.assign(new Error(message), { code, details: message }))
      }
      if (ready) settle(ready)
      else obtain({ kind: 'obtain', keeper, until, rejected: 0 }, this.#runtime, settle)
    })
  }

  /** Ends the renewal of the tokens. */
  close(): void {
    this.#tokens.close()
  }

  readonly #interceptor: Interceptor = (options: InterceptorOptions, nextCall: NextCall) => {
    const caller = currentCaller()
    const call = new AttachedCall(options, nextCall, this.#runtime, this.#options.waitMax ?? WAIT_MAX, (metadata) =>
      this.#carried(options.method_definition.path, metadata, caller?.bearer),
    )
    return new InterceptingCall(call)
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
    const { request, replayable } = this.#needs.of(path)
    if (!request) return {}
    if (!onBehalfOfCaller) return { keeper: this.#tokens.of(request), replayable }
    if (callers === undefined) {
      const sentence = 'this channel calls on behalf of a caller, and there is none'
      return { failure: failed(new Answer('PRECONDITION_FAILED', sentence)) }
    }
    return { keeper: this.#tokens.of(request.onBehalfOf(callers)), replayable }
  }
}

/** The treatment of one call. */
interface Carried {
  keeper?: Keeper
  replayable?: boolean
  failure?: Failure
}

function isToken(values: readonly (string | Buffer)[], token: string | undefined): boolean {
  try {
    return bearer(values) === token
  } catch {
    return false
  }
}

/** Waits for a token. */
function obtain(
  { keeper, until, rejected }: Step & { kind: 'obtain' },
  runtime: Runtime,
  settle: (outcome?: Ready | NoToken) => void,
): void {
  let over = false
  const once = (outcome?: Ready | NoToken) => {
    if (over) return
    over = true
    cancel()
    settle(outcome)
  }
  const cancel = runtime.callAt(until, () => once())
  if (rejected > 0) keeper.replace(rejected, once)
  else keeper.obtain(once)
}

/** The answer of the called server to one attempt, and what came before it. */
class Received implements Reply {
  readonly code: number
  readonly marks: readonly string[]
  readonly reason: string
  readonly domain: string

  constructor(
    readonly status: StatusObject,
    readonly metadata: Metadata | undefined,
    readonly messages: readonly unknown[],
  ) {
    this.code = status.code
    this.marks = status.metadata.get(MARK).map(String)
    const details = this.marks.length > 0 ? errorDetails(status.metadata.get('grpc-status-details-bin')[0]) : undefined
    this.reason = details?.reason ?? ''
    this.domain = details?.domain ?? ''
  }
}

/** Returns a listener that passes on no mark: the program could pass it on as its own. */
export function unmarkedListener(program: InterceptingListener | undefined): InterceptingListener {
  return {
    onReceiveMetadata: (metadata) => {
      metadata.remove(MARK)
      program?.onReceiveMetadata(metadata)
    },
    onReceiveMessage: (message) => program?.onReceiveMessage(message),
    onReceiveStatus: (status) => {
      status.metadata.remove(MARK)
      program?.onReceiveStatus(status)
    },
  }
}

/** A call that waits for its token, and may be sent twice. */
class AttachedCall implements Pick<Inner, 'start' | 'sendMessage' | 'sendMessageWithContext' | 'startRead' | 'halfClose' | 'cancelWithStatus' | 'getPeer' | 'getAuthContext'> {
  readonly #path: string
  readonly #unary: boolean
  #inner: Inner | undefined
  #listener: InterceptingListener | undefined
  #metadata = new Metadata()
  #messages: [MessageContext, unknown][] = []
  #reads = 0
  #halfClosed = false
  #over = false

  constructor(
    private readonly options: InterceptorOptions,
    private readonly nextCall: NextCall,
    private readonly runtime: Runtime,
    private readonly waitMax: number,
    private readonly carried: (metadata: Metadata) => Carried,
  ) {
    const { path, requestStream, responseStream } = options.method_definition
    this.#path = path
    this.#unary = !requestStream && !responseStream
  }

  start(metadata: Metadata, listener?: Partial<InterceptingListener>): void {
    this.#listener = listener as InterceptingListener
    this.#metadata = metadata.clone()
    const { keeper, replayable = false, failure } = this.carried(this.#metadata)
    if (failure) return this.#fail(failure)
    if (!keeper) return this.#begin(this.#metadata, unmarkedListener(this.#listener))
    const steps = procedure<Received>(
      keeper,
      this.#path,
      replayable && this.#unary,
      this.#deadline(),
      this.runtime,
      this.waitMax,
    )
    this.#goOn(steps, keeper)
  }

  sendMessage(message: unknown): void {
    this.sendMessageWithContext({}, message)
  }

  sendMessageWithContext(context: MessageContext, message: unknown): void {
    if (this.#inner && !this.#unary) return this.#inner.sendMessageWithContext(context, message)
    this.#messages.push([context, message])
    this.#inner?.sendMessageWithContext(context, message)
  }

  startRead(): void {
    this.#reads++
    this.#inner?.startRead()
  }

  halfClose(): void {
    this.#halfClosed = true
    this.#inner?.halfClose()
  }

  cancelWithStatus(code: number, details: string): void {
    if (this.#inner) this.#inner.cancelWithStatus(code, details)
    else this.#fail({ code, message: details })
  }

  getPeer(): string {
    return this.#inner?.getPeer() ?? this.options.host ?? ''
  }

  getAuthContext(): ReturnType<Inner['getAuthContext']> {
    return this.#inner?.getAuthContext() ?? null
  }

  #deadline(): number | undefined {
    const { deadline } = this.options
    if (deadline === undefined || deadline === Number.POSITIVE_INFINITY) return undefined
    return this.runtime.now().monotonic + (Number(deadline) - Date.now())
  }

  #goOn(steps: Procedure<Received>, keeper: Keeper, sent?: Ready | NoToken | Received): void {
    if (this.#over) return
    const step = steps.next(sent)
    if (step.done) {
      if ('failure' in step.value) this.#fail(step.value.failure)
      else this.#deliver(step.value.reply)
    } else if (step.value.kind === 'obtain') {
      obtain(step.value, this.runtime, (outcome) => this.#goOn(steps, keeper, outcome))
    } else {
      this.#send(step.value.token, steps, keeper)
    }
  }

  #send(token: Ready, steps: Procedure<Received>, keeper: Keeper): void {
    const metadata = this.#metadata.clone()
    metadata.set('authorization', `Bearer ${token.value}`)
    const listener = this.#listener
    if (!this.#unary) {
      // A stream is watched, and never sent again.
      const program = unmarkedListener(listener)
      this.#begin(metadata, {
        ...program,
        onReceiveStatus: (status) => {
          if (refusedStage(new Received(status, undefined, []), this.#path)) keeper.reject(token.generation)
          program.onReceiveStatus(status)
        },
      })
      return
    }
    let received: Metadata | undefined
    const messages: unknown[] = []
    this.#begin(metadata, {
      onReceiveMetadata: (head) => {
        received = head
      },
      onReceiveMessage: (message) => {
        messages.push(message)
      },
      onReceiveStatus: (status) => this.#goOn(steps, keeper, new Received(status, received, messages)),
    })
  }

  #begin(metadata: Metadata, listener: InterceptingListener | undefined): void {
    const inner = this.nextCall(this.options)
    this.#inner = inner
    inner.start(metadata, listener)
    for (const [context, message] of this.#messages) inner.sendMessageWithContext(context, message)
    if (!this.#unary) this.#messages = []
    for (let read = 0; read < this.#reads; read++) inner.startRead()
    if (this.#halfClosed) inner.halfClose()
  }

  #deliver({ metadata, messages, status }: Received): void {
    this.#over = true
    const program = unmarkedListener(this.#listener)
    if (metadata) program.onReceiveMetadata(metadata)
    for (const message of messages) program.onReceiveMessage(message)
    program.onReceiveStatus(status)
  }

  #fail({ code, message, answer }: Failure): void {
    this.#over = true
    const metadata = new Metadata()
    for (const [name, value] of answer?.trailers() ?? []) metadata.add(name, value)
    // The program has to have its call first.
    setImmediate(() => this.#listener?.onReceiveStatus({ code, details: message, metadata }))
  }
}
