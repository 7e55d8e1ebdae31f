// What the tests against a real issuer share. `run` sets the environment.

import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import grpc from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import { ClientCredentials, ClientTokens, GrpcIssuer, policyOf } from 'm2m-token'
import protobuf from 'protobufjs'

const root = fileURLToPath(new URL('../../..', import.meta.url))
const includeDirs = [`${root}/token-interceptor/examples/proto`, `${root}/proto`]

export const { InventoryService } = grpc.loadPackageDefinition(loadSync('inventory.proto', { includeDirs })).inventory.v1
export const policy = policyOf('inventory.proto', { includeDirs })

export const env = (name) => {
  const value = process.env[name]
  if (!value) throw new Error(`${name} is not set: these tests run by \`run\``)
  return value
}

export const rootCertificates = () => readFileSync(env('TOKEN_CA_FILE'))

export function tokens(clientSecret = env('TOKEN_CLIENT_SECRET')) {
  const issuer = new GrpcIssuer(env('TOKEN_ISSUER'), { roots: rootCertificates() })
  return new ClientTokens({ source: new ClientCredentials(env('TOKEN_CLIENT_ID'), clientSecret, issuer), policy })
}

/** A client for one test, closed after it. */
export function inventory(t, target, clientTokens) {
  const credentials = grpc.credentials.createSsl(rootCertificates())
  const client = new InventoryService(...(clientTokens?.to(target, credentials) ?? [target, credentials]))
  t.after(() => {
    client.close()
    clientTokens?.close()
  })
  return client
}

/** A unary call as a promise. */
export function call(client, method, request, metadata = new grpc.Metadata()) {
  const deadline = Date.now() + 10_000
  return new Promise((resolve, reject) =>
    client[method](request, metadata, { deadline }, (error, answer) => (error ? reject(error) : resolve(answer))),
  )
}

/** Every message of a server stream. */
export async function list(client) {
  const items = []
  for await (const { item } of client.listItems({}, { deadline: Date.now() + 10_000 })) items.push(item)
  return items
}

/** The reason, the metadata and the retry delay in an error's details. */
export function errorDetails({ metadata }) {
  const found = {}
  const [encoded] = metadata?.get('grpc-status-details-bin') ?? []
  if (!encoded) return found
  const decode = (type, bytes) => rpc.lookupType(type).decode(bytes)
  for (const { typeUrl: url, value } of decode('Status', encoded).details) {
    if (url === 'type.googleapis.com/google.rpc.ErrorInfo') {
      const info = decode('ErrorInfo', value)
      if (info.domain === 'm2m.token.v1') Object.assign(found, { reason: info.reason, metadata: info.metadata })
    } else if (url === 'type.googleapis.com/google.rpc.RetryInfo') {
      const { seconds, nanos } = decode('RetryInfo', value).retryDelay
      found.retryMs = Number(seconds) * 1_000 + nanos / 1_000_000
    }
  }
  return found
}

const rpc = protobuf.parse(
  `syntax = "proto3";
  message Duration { int64 seconds = 1; int32 nanos = 2; }
  message Any { string type_url = 1; bytes value = 2; }
  message Status { int32 code = 1; string message = 2; repeated Any details = 3; }
  message ErrorInfo { string reason = 1; string domain = 2; map<string, string> metadata = 3; }
  message RetryInfo { Duration retry_delay = 1; }`,
).root
