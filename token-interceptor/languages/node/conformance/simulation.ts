/** A client layer on a simulated clock, against an issuer that follows a script. */

import { create, type MessageInitShape } from '@bufbuild/protobuf'
import { readToken } from '../src/token-response.js'
import { Metadata, type StatusObject } from '@grpc/grpc-js'
import { duration, MARK, milliseconds } from '../src/answers.js'
import { type Failure, Needs, procedure, type Procedure, type Reply, Tokens } from '../src/calls.js'
import { unmarkedListener } from '../src/attached.js'
import { ERROR_DOMAIN } from '../src/errors.js'
import type { NoToken, Outcome, Ready, Runtime } from '../src/keeper.js'
import type { Now } from '../src/machine.js'
import { Policy } from '../src/policy.js'
import { type IssuedToken, SourceError, type TokenRequest, type TokenSource } from '../src/source.js'
import {
  type Call,
  type CallResult,
  CallResultSchema,
  type ClientCase,
  type ClientResultSchema,
  type IssuerAnswer,
  type ServerAnswer,
  TokenRequestSchema,
} from './gen/m2m/conformance/v1/conformance_pb.js'

/** The order of what happens at one time. */
const Order = { JUMP: 0, ANSWER: 1, TIMER: 2, CALL: 3, PATIENCE: 4 } as const

interface Happening {
  time: number
  order: number
  number: number
  happen: (() => void) | undefined
}

/** The simulated clock, and everything that is going to happen. */
class World implements Runtime {
  monotonic = 0
  #happenings: Happening[] = []
  #number = 0
  /** The answer to the request that was just made. */
  scripted: IssuerAnswer | undefined

  constructor(
    private wall: number,
    private readonly luck: number,
  ) {}

  at(time: number, order: number, happen: () => void): () => void {
    const happening: Happening = { time: Math.max(time, this.monotonic), order, number: this.#number++, happen }
    this.#happenings.push(happening)
    return () => {
      happening.happen = undefined
    }
  }

  runUntil(end: number): void {
    for (;;) {
      const [next] = this.#happenings.sort((a, b) => a.time - b.time || a.order - b.order || a.number - b.number)
      if (!next || next.time > end) return
      this.#happenings.shift()
      this.wall += next.time - this.monotonic
      this.monotonic = next.time
      next.happen?.()
    }
  }

  jump(by: number): void {
    this.wall += by
  }

  now(): Now {
    return { monotonic: this.monotonic, wall: this.wall }
  }

  draw(): number {
    return this.luck
  }

  callAt(monotonic: number, call: () => void): () => void {
    return this.at(monotonic, Order.TIMER, call)
  }

  run(fetch: () => Promise<IssuedToken>, done: (outcome: Outcome) => void): void {
    // The scripted issuer notes the request, and says when its answer arrives.
    void fetch()
    const answer = this.scripted
    if (!answer) return
    this.at(this.monotonic + time(answer.delay), Order.ANSWER, () => {
      let outcome: Outcome
      try {
        outcome = read(answer, this.wall)
      } catch (error) {
        if (!(error instanceof SourceError)) throw error
        outcome = error
      }
      done(outcome)
    })
  }
}

function read(answer: IssuerAnswer, now: number): IssuedToken {
  if (answer.connectionFailed) throw new SourceError('the connection failed', { cause: 'connection_refused' })
  const headers: Record<string, string> = answer.retryAfter ? { 'retry-after': answer.retryAfter } : {}
  return readToken({ status: answer.status, headers, body: answer.body }, now)
}

/** A token source that follows the script. */
class Issuer implements TokenSource {
  readonly requests: MessageInitShape<typeof TokenRequestSchema>[] = []

  constructor(
    private readonly world: World,
    private readonly answers: readonly IssuerAnswer[],
  ) {}

  fetch(request: TokenRequest): Promise<IssuedToken> {
    this.world.scripted = this.answers[this.requests.length]
    this.requests.push({
      at: duration(this.world.monotonic),
      audience: request.audience ?? '',
      scopes: [...request.scopes],
    })
    return new Promise(() => {})
  }
}

/** The answer of the called server to one attempt. */
class ScriptedReply implements Reply {
  readonly code: number
  readonly reason: string
  readonly domain: string
  readonly marks: readonly string[]

  constructor(answer: ServerAnswer | undefined) {
    this.code = answer?.code ?? 0
    this.reason = answer?.reason ?? ''
    this.domain = this.reason && ERROR_DOMAIN
    this.marks = answer?.marks ?? []
  }
}

/** One call of the program. */
class RunningCall {
  readonly result: CallResult = create(CallResultSchema, { code: -1 })

  constructor(
    private readonly world: World,
    private readonly answers: readonly ServerAnswer[],
  ) {}

  send(token: string): ScriptedReply {
    this.result.attempts.push(token)
    return new ScriptedReply(this.answers[this.result.attempts.length - 1])
  }

  end(code: number, reason: string, marks: readonly string[] = []): void {
    this.result.code = code
    this.result.reason = reason
    const metadata = new Metadata()
    for (const mark of marks) metadata.add(MARK, mark)
    const onReceiveStatus = (status: StatusObject) => this.result.marks.push(...status.metadata.get(MARK).map(String))
    unmarkedListener({ onReceiveMetadata: () => {}, onReceiveMessage: () => {}, onReceiveStatus }).onReceiveStatus({
      code,
      details: '',
      metadata,
    })
    this.result.at = duration(this.world.monotonic)
  }

  goOn(steps: Procedure<ScriptedReply>, sent?: Ready | NoToken | ScriptedReply): void {
    for (;;) {
      const step = steps.next(sent)
      if (step.done) return this.#finish(step.value)
      if (step.value.kind === 'obtain') return this.#wait(steps, step.value)
      sent = this.send(step.value.token?.value ?? '')
    }
  }

  #wait(
    steps: Procedure<ScriptedReply>,
    { keeper, until, rejected }: { keeper: import('../src/keeper.js').Keeper; until: number; rejected: number },
  ): void {
    let over = false
    const once = (outcome?: Ready | NoToken) => {
      if (over) return
      over = true
      // The token may have been told from within the state machine.
      this.world.at(this.world.monotonic, Order.ANSWER, () => this.goOn(steps, outcome))
    }
    this.world.at(until, Order.PATIENCE, () => once())
    if (rejected > 0) keeper.replace(rejected, once)
    else keeper.obtain(once)
  }

  #finish(outcome: { reply: ScriptedReply } | { failure: Failure }): void {
    if ('reply' in outcome) this.end(outcome.reply.code, outcome.reply.reason, outcome.reply.marks)
    else this.end(outcome.failure.code, outcome.failure.answer?.reason ?? '')
  }
}

/** Runs a client case. */
export function simulate(test: ClientCase): MessageInitShape<typeof ClientResultSchema> {
  const world = new World(test.start ? milliseconds(test.start) : 0, test.draw)
  const issuer = new Issuer(world, test.answers)
  const tokens = new Tokens(issuer, world)
  const needs = new Needs(Policy.fromDescriptorSet(test.descriptors).call())
  if (test.sharing.length > 0) needs.share(test.sharing)
  for (const jump of test.jumps) world.at(time(jump.at), Order.JUMP, () => world.jump(time(jump.by)))
  const calls = test.calls.map((call) => {
    const running = new RunningCall(world, call.answers)
    world.at(time(call.at), Order.CALL, () => begin(call, running, world, needs, tokens))
    return running
  })
  world.runUntil(time(test.until))
  return { requests: issuer.requests, calls: calls.map((call) => call.result) }
}

function begin(call: Call, running: RunningCall, world: World, needs: Needs, tokens: Tokens): void {
  const { request, replayable, optional } = needs.of(call.method)
  if (!request) {
    const { code, reason, marks } = running.send('')
    running.end(code, reason, marks)
    return
  }
  const deadline = call.deadline && world.monotonic + time(call.deadline)
  const terms = { replayable, optional, deadline }
  running.goOn(procedure<ScriptedReply>(tokens.of(request), call.method, terms, world))
}

function time(value: { seconds: bigint; nanos: number } | undefined): number {
  return value ? milliseconds(value) : 0
}
