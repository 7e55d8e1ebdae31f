// Shared by the tests against a real issuer. `run` sets the environment.

import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import grpc from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import { TokenCredentials } from './token-credentials.js'

const root = fileURLToPath(new URL('../../..', import.meta.url))

/** The folder with m2m/token/v1. */
export const protos = `${root}/proto`

const { InventoryService } = grpc.loadPackageDefinition(
  loadSync('inventory.proto', { includeDirs: [`${root}/token-interceptor/examples/proto`, protos] }),
).inventory.v1
export { InventoryService }

export const env = (name) => {
  const value = process.env[name]
  if (!value) throw new Error(`${name} is not set: these tests run by \`run\``)
  return value
}

export const rootCertificates = () => readFileSync(env('TOKEN_CA_FILE'))

export function tokens(clientSecret = env('TOKEN_CLIENT_SECRET')) {
  return TokenCredentials.connect({
    issuer: env('TOKEN_ISSUER').replace('https://', ''),
    clientId: env('TOKEN_CLIENT_ID'),
    clientSecret,
    audience: 'inventory',
    rootCertificates: rootCertificates(),
    protos,
  })
}

/** A client for one test. It is closed after the test. */
export function inventory(t, target, credentials) {
  const channel = credentials?.channelCredentials(rootCertificates()) ?? grpc.credentials.createSsl(rootCertificates())
  const client = new InventoryService(target, channel)
  t.after(() => client.close())
  return client
}

/** Makes a unary call and returns a promise. */
export function call(client, method, request, metadata = new grpc.Metadata()) {
  const deadline = Date.now() + 10_000
  return new Promise((resolve, reject) =>
    client[method](request, metadata, { deadline }, (error, answer) => (error ? reject(error) : resolve(answer))),
  )
}

/** Returns every message of a server stream. */
export async function list(client) {
  const items = []
  for await (const { item } of client.listItems({}, { deadline: Date.now() + 10_000 })) items.push(item)
  return items
}
