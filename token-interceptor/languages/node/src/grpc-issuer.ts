/** A channel to the services of this project's issuer. */

import { type DescMethodServerStreaming, type DescMethodUnary, fromBinary, type MessageShape, toBinary } from '@bufbuild/protobuf'
import { type ChannelOptions, Client, credentials, type ClientReadableStream, type ServiceError } from '@grpc/grpc-js'
import { checkUrl } from './destinations.js'

/** Keepalive tells a dead connection from a slow issuer. */
const OPTIONS: ChannelOptions = { 'grpc.keepalive_time_ms': 10_000, 'grpc.keepalive_timeout_ms': 5_000 }

/** A channel to an issuer's URL. It connects at first use. */
export class IssuerChannel {
  readonly #client: Client

  /** `roots`: the certificates, in PEM, that are trusted instead of Node's own. */
  constructor(url: string, roots?: string | Buffer) {
    const { protocol, hostname, port } = checkUrl(url)
    const secure = protocol === 'https:'
    const target = `${hostname}:${port || (secure ? 443 : 80)}`
    const channel = secure
      ? credentials.createSsl(roots === undefined ? null : Buffer.from(roots))
      : credentials.createInsecure()
    this.#client = new Client(target, channel, OPTIONS)
  }

  /** Makes a unary call. Rejects with the `ServiceError` of grpc-js. `timeout`: in milliseconds. */
  unary<M extends DescMethodUnary>(
    method: M,
    message: MessageShape<M['input']>,
    timeout: number,
  ): Promise<MessageShape<M['output']>> {
    return new Promise((resolve, reject) => {
      this.#client.makeUnaryRequest(
        pathOf(method),
        (request: MessageShape<M['input']>) => Buffer.from(toBinary(method.input, request)),
        (bytes) => fromBinary(method.output, bytes) as MessageShape<M['output']>,
        message,
        { deadline: Date.now() + timeout },
        (error: ServiceError | null, answer?: MessageShape<M['output']>) =>
          answer ? resolve(answer) : reject(error),
      )
    })
  }

  /** Begins a stream of messages. */
  stream<M extends DescMethodServerStreaming>(
    method: M,
    message: MessageShape<M['input']>,
  ): ClientReadableStream<MessageShape<M['output']>> {
    return this.#client.makeServerStreamRequest(
      pathOf(method),
      (request: MessageShape<M['input']>) => Buffer.from(toBinary(method.input, request)),
      (bytes) => fromBinary(method.output, bytes) as MessageShape<M['output']>,
      message,
    )
  }

  /** Ends the connection. */
  close(): void {
    this.#client.close()
  }
}

function pathOf(method: DescMethodUnary | DescMethodServerStreaming): string {
  return `/${method.parent.typeName}/${method.name}`
}
