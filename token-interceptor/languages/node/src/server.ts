/** Servers of `@grpc/grpc-js` whose methods demand tokens, as the annotations of their services say. */

import {
  Metadata,
  Server,
  type ServerCredentials,
  type ServerInterceptingCallInterface,
  ServerInterceptingCall,
  type ServerInterceptor,
  type ServerOptions,
  type ServiceDefinition,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js'
import { AFTER_HANDLER, Answer, BEFORE_HANDLER, MARK } from './answers.js'
import { Denied } from './errors.js'
import { type Entry, Layer, type LayerOptions, refusalTrailers, serveAs } from './layer.js'
import type { Policy } from './policy.js'
import type { Caller } from './token.js'
import { type TrustedIssuer, Verifier } from './verify.js'

const callers = new WeakMap<Metadata, Caller>()

/**
 * Returns the verified caller of a call. Undefined for a public method, unless the method says `identify` and
 * the call has a token. `currentCaller` needs no argument.
 */
export function callerOf(call: { metadata: Metadata }): Caller | undefined {
  return callers.get(call.metadata)
}

/** The settings of a server beside those of grpc-js. */
export interface TokenServerOptions extends LayerOptions {
  /** The trusted issuers. */
  issuers: readonly TrustedIssuer[]
  /** The policy of the served services, from their descriptors. */
  policy: Policy
  /** The paths of methods that are open to all callers, in spite of their annotations. */
  open?: readonly string[]
}

/** A server that starts only with a policy for each of its methods. */
export class TokenServer extends Server {
  readonly #options: TokenServerOptions
  readonly #verifier: Verifier
  readonly #services: Set<string>
  readonly #layer: { current: Layer | undefined }

  /** `server`: the options of grpc-js. Its interceptors come after the layer. */
  constructor(options: TokenServerOptions, server: ServerOptions = {}) {
    const layer: { current: Layer | undefined } = { current: undefined }
    super({ ...server, interceptors: [interceptorOf(layer), ...(server.interceptors ?? [])] })
    this.#layer = layer
    this.#options = options
    this.#verifier = new Verifier(options.issuers)
    this.#services = new Set()
  }

  override addService(service: ServiceDefinition, implementation: UntypedServiceImplementation): void {
    for (const { path } of Object.values(service)) this.#services.add(path.slice(1, path.lastIndexOf('/')))
    super.addService(service, implementation)
  }

  /** Binds a port. Throws PolicyError, which names every fault, if a method has no policy. */
  override bindAsync(
    port: string,
    credentials: ServerCredentials,
    callback: (error: Error | null, port: number) => void,
  ): void {
    this.#check()
    super.bindAsync(port, credentials, callback)
  }

  /** Binds a port, and resolves to its number. Rejects as `bindAsync` throws. */
  listen(address: string, credentials: ServerCredentials): Promise<number> {
    return new Promise((resolve, reject) => {
      this.bindAsync(address, credentials, (error, port) => (error ? reject(error) : resolve(port)))
    })
  }

  override tryShutdown(callback: (error?: Error) => void): void {
    this.#verifier.close()
    super.tryShutdown(callback)
  }

  override forceShutdown(): void {
    this.#verifier.close()
    super.forceShutdown()
  }

  #check(): void {
    const { policy, open = [] } = this.#options
    // Reflection is closed unless the program opens it.
    const isServed = (name: string) =>
      !name.startsWith('grpc.reflection.') || open.some((path) => path.startsWith(`/${name}/`))
    const demands = policy.serve([...this.#services].filter(isServed), open)
    this.#layer.current = new Layer(this.#verifier, demands, this.#options)
  }
}

/** Returns the layer as an interceptor, for a server that the program makes itself. It comes first. */
export function authorization(layer: Layer): ServerInterceptor {
  return interceptorOf({ current: layer })
}

function interceptorOf(layer: { current: Layer | undefined }): ServerInterceptor {
  return (method, call) => {
    if (!layer.current) throw new Error('the server was started without its policy')
    return new GuardedCall(layer.current, method.path, call).intercepting()
  }
}

/** One call. */
class GuardedCall {
  #entry: Entry = {}
  #ended = false
  #timer: NodeJS.Timeout | undefined

  constructor(
    private readonly layer: Layer,
    private readonly path: string,
    private readonly call: ServerInterceptingCallInterface,
  ) {}

  intercepting(): ServerInterceptingCall {
    const serve = (work: () => void) => {
      if (!this.#ended) serveAs(this.#entry.caller, work)
    }
    return new ServerInterceptingCall(this.call, {
      start: (next) =>
        next({
          onReceiveMetadata: (metadata, proceed) => this.#enter(metadata, () => serve(() => proceed(metadata))),
          onReceiveMessage: (message, proceed) => serve(() => proceed(message)),
          onReceiveHalfClose: (proceed) => serve(proceed),
          onCancel: () => this.#rest(),
        }),
      sendMetadata: (metadata, next) => {
        metadata.remove(MARK)
        if (!this.#ended) next(metadata)
      },
      sendMessage: (message, next) => {
        if (!this.#ended) next(message)
      },
      sendStatus: (status, next) => {
        if (this.#ended) return
        this.#rest()
        // Only the layer itself marks an answer.
        status.metadata?.remove(MARK)
        next(status)
      },
    })
  }

  #enter(metadata: Metadata, proceed: () => void): void {
    const allow = (entry: Entry) => {
      this.#entry = entry
      if (entry.caller) callers.set(metadata, entry.caller)
      if (entry.endsWith) this.#watch()
      proceed()
    }
    const refuse = (error: unknown) => this.#end(error, BEFORE_HANDLER)
    try {
      const entry = this.layer.enter(this.path, metadata.get('authorization'))
      if (entry instanceof Promise) entry.then(allow).catch(refuse)
      else allow(entry)
    } catch (error) {
      refuse(error)
    }
  }

  /** Looks at the token until the call ends. */
  #watch(): void {
    this.layer.look(this.path, this.#entry).then(
      (pause) => {
        if (this.#ended) return
        this.#timer = setTimeout(() => this.#watch(), pause)
        this.#timer.unref()
      },
      (error: unknown) => this.#end(error, AFTER_HANDLER),
    )
  }

  #end(error: unknown, stage: string): void {
    if (this.#ended) return
    this.#rest()
    this.#ended = true
    const metadata = new Metadata()
    if (!(error instanceof Denied)) {
      this.call.sendStatus({ code: 13, details: 'the layer failed', metadata })
      return
    }
    for (const [name, value] of refusalTrailers(error, stage, this.path)) metadata.add(name, value)
    const { code, message } = Answer.of(error)
    this.call.sendStatus({ code, details: message, metadata })
  }

  #rest(): void {
    clearTimeout(this.#timer)
  }
}
