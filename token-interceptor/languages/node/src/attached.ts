/**
 * A channel of grpc-js whose calls carry tokens.
 *
 * It stands below the interceptors, which cost more than the layer. A call whose token is in memory is sent
 * at once, with one more entry in its metadata.
 */

import { type ChannelInterface, type InterceptingListener, Metadata, type StatusObject } from '@grpc/grpc-js'
import { Code, errorDetails, MARK } from './answers.js'
import { after, type Failure, type Need, procedure, type Procedure, refusedStage, type Reply, type Step, type Terms } from './calls.js'
import type { Keeper, NoToken, Ready, Runtime } from './keeper.js'
import { currentCaller } from './layer.js'
import type { Caller } from './token.js'

/** A call of grpc-js, below its interceptors. */
type Inner = ReturnType<ChannelInterface['createCall']>
type MessageContext = Parameters<Inner['sendMessageWithContext']>[0]
type CallOptions = Parameters<ChannelInterface['createCall']>

/** The treatment of one call. Without a token the call keeps its own metadata. */
export type Carried = { token?: { keeper: Keeper; need: Need } } | { failure: Failure }

/** The part of the layer that the calls of a channel need. */
export interface Attaching {
  readonly runtime: Runtime
  readonly waitMax: number
  /** Returns the treatment of a call. Removes an authorization that is not to be sent from the metadata. */
  carried(path: string, metadata: Metadata, caller: Caller | undefined): Carried
}

/** A channel whose calls carry tokens. */
export class AttachedChannel implements ChannelInterface {
  constructor(
    private readonly inner: ChannelInterface,
    private readonly layer: Attaching,
  ) {}

  createCall(...options: CallOptions): Inner {
    return new AttachedCall(this.inner, options, this.layer)
  }

  close(): void {
    this.inner.close()
  }

  getTarget(): string {
    return this.inner.getTarget()
  }

  getConnectivityState(tryToConnect: boolean): ReturnType<ChannelInterface['getConnectivityState']> {
    return this.inner.getConnectivityState(tryToConnect)
  }

  watchConnectivityState(...watch: Parameters<ChannelInterface['watchConnectivityState']>): void {
    this.inner.watchConnectivityState(...watch)
  }

  getChannelzRef(): ReturnType<ChannelInterface['getChannelzRef']> {
    return this.inner.getChannelzRef()
  }
}

/** The answer of the called server to one attempt. */
class Received implements Reply {
  readonly code: number
  readonly marks: readonly string[]
  readonly reason: string
  readonly domain: string

  constructor(readonly status: StatusObject) {
    this.code = status.code
    this.marks = status.metadata.get(MARK).map(String)
    const details = this.marks.length > 0 ? errorDetails(status.metadata.get('grpc-status-details-bin')[0]) : undefined
    this.reason = details?.reason ?? ''
    this.domain = details?.domain ?? ''
  }
}

/** Returns a listener that passes on no mark: the program could pass it on as its own. */
export function unmarkedListener(program: InterceptingListener): InterceptingListener {
  return {
    onReceiveMetadata: (metadata) => {
      metadata.remove(MARK)
      program.onReceiveMetadata(metadata)
    },
    onReceiveMessage: (message) => program.onReceiveMessage(message),
    onReceiveStatus: (status) => {
      status.metadata.remove(MARK)
      program.onReceiveStatus(status)
    },
  }
}

/** Waits for a token. */
export function obtain(
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

/** A call that waits for its token, and may be sent twice. */
class AttachedCall implements Inner {
  readonly #caller = currentCaller()
  readonly #path: string
  #inner: Inner | undefined
  #program: InterceptingListener | undefined
  #metadata: Metadata | undefined
  #credentials: Parameters<Inner['setCredentials']>[0] | undefined
  /** The messages that the next attempt sends. */
  #messages: [MessageContext, Buffer][] = []
  /** True if the call may be sent again: it is unary, and no message has come. */
  #replayable = false
  /** The metadata of an answer that may yet be replaced. */
  #head: Metadata | undefined
  #reads = 0
  #halfClosed = false
  #waits = false
  #over = false

  constructor(
    private readonly channel: ChannelInterface,
    private readonly options: CallOptions,
    private readonly layer: Attaching,
  ) {
    this.#path = options[0]
  }

  start(metadata: Metadata, listener: InterceptingListener): void {
    this.#program = unmarkedListener(listener)
    this.#metadata = metadata.clone()
    const carried = this.layer.carried(this.#path, this.#metadata, this.#caller)
    if ('failure' in carried) return this.#fail(carried.failure)
    if (!carried.token) return this.#begin(this.#metadata, this.#program)
    const { keeper, need } = carried.token
    this.#replayable = need.replayable
    const ready = keeper.ready()
    if (ready) this.#send(ready, keeper, need)
    else this.#goOn(procedure(keeper, this.#path, this.#terms(need), this.layer.runtime), keeper, need)
  }

  sendMessageWithContext(context: MessageContext, message: Buffer): void {
    // A second message: the call is a stream of requests, in spite of its policy.
    if (this.#replayable && this.#messages.length > 0) this.#settle()
    if (!this.#inner || this.#replayable) this.#messages.push([context, message])
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
    if (this.#inner && !this.#waits) this.#inner.cancelWithStatus(code, details)
    else this.#fail({ code, message: details })
  }

  getPeer(): string {
    return this.#inner?.getPeer() ?? this.channel.getTarget()
  }

  getAuthContext(): ReturnType<Inner['getAuthContext']> {
    return this.#inner?.getAuthContext() ?? null
  }

  getCallNumber(): number {
    return this.#inner?.getCallNumber() ?? 0
  }

  setCredentials(credentials: Parameters<Inner['setCredentials']>[0]): void {
    this.#credentials = credentials
  }

  #terms({ replayable, optional }: Need): Terms {
    const { runtime, waitMax } = this.layer
    const left = Number(this.options[1]) - Date.now()
    return { replayable, optional, waitMax, deadline: left < Infinity ? runtime.now().monotonic + left : undefined }
  }

  #goOn(steps: Procedure<Received>, keeper: Keeper, need: Need, sent?: Ready | NoToken | Received): void {
    if (this.#over) return
    const { done, value } = steps.next(sent)
    if (done) {
      if ('failure' in value) this.#fail(value.failure)
      else this.#deliver(value.reply.status)
    } else if (value.kind === 'obtain') {
      this.#waits = true
      obtain(value, this.layer.runtime, (outcome) => {
        this.#waits = false
        this.#goOn(steps, keeper, need, outcome)
      })
    } else {
      this.#send(value.token, keeper, need, steps)
    }
  }

  /** `steps`: the procedure that gets a refusal. Undefined for a call that was sent at once. */
  #send(ready: Ready | undefined, keeper: Keeper, need: Need, steps?: Procedure<Received>): void {
    const [metadata, program] = [this.#metadata, this.#program]
    if (!metadata || !program) return
    if (ready) metadata.set('authorization', ready.header)
    this.#begin(metadata, {
      onReceiveMetadata: (head) => {
        if (this.#replayable) this.#head = head
        else program.onReceiveMetadata(head)
      },
      onReceiveMessage: (message) => {
        this.#settle()
        program.onReceiveMessage(message)
      },
      onReceiveStatus: (status) => {
        // Almost every call succeeds, and its metadata do not matter here.
        const reply = ready && status.code === Code.UNAUTHENTICATED ? new Received(status) : undefined
        if (!ready || !reply || !refusedStage(reply, this.#path)) return this.#deliver(status)
        if (!this.#replayable) {
          keeper.reject(ready.generation)
          return this.#deliver(status)
        }
        if (steps) return this.#goOn(steps, keeper, need, reply)
        const rest = after(keeper, this.#path, this.#terms(need), this.layer.runtime, { ready, reply })
        this.#goOn(rest, keeper, need)
      },
    })
  }

  #begin(metadata: Metadata, listener: InterceptingListener): void {
    const inner = this.channel.createCall(...this.options)
    if (this.#credentials) inner.setCredentials(this.#credentials)
    this.#inner = inner
    this.#head = undefined
    inner.start(metadata, listener)
    for (const [context, message] of this.#messages) inner.sendMessageWithContext(context, message)
    if (!this.#replayable) this.#messages = []
    for (let read = 0; read < this.#reads; read++) inner.startRead()
    if (this.#halfClosed) inner.halfClose()
  }

  /** From now on the call is not sent again. */
  #settle(): void {
    if (!this.#replayable) return
    this.#replayable = false
    if (this.#inner) this.#messages = []
    if (this.#head) this.#program?.onReceiveMetadata(this.#head)
    this.#head = undefined
  }

  #deliver(status: StatusObject): void {
    this.#over = true
    this.#settle()
    this.#program?.onReceiveStatus(status)
  }

  #fail({ code, message, answer }: Failure): void {
    this.#over = true
    const metadata = new Metadata()
    for (const [name, value] of answer?.trailers() ?? []) metadata.add(name, value)
    // The program has to have its call first.
    setImmediate(() => this.#program?.onReceiveStatus({ code, details: message, metadata }))
  }
}
