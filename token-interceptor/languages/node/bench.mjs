// The cost of the layers beside an echo of the same language: node bench.mjs, after conformance/build.
// Prints CPU time of the whole process, client and server, per unary call.

import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import grpc from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'

const require = createRequire(import.meta.url)
const { Needs, procedure, Tokens } = require('./build/src/calls.js')
const { systemRuntime } = require('./build/src/keeper.js')
const { KeySet } = require('./build/src/keys.js')
const { Layer } = require('./build/src/layer.js')
const { policyOf } = require('./build/src/protos.js')
const { StaticToken } = require('./build/src/sources.js')
const { TrustedIssuer, Verifier } = require('./build/src/verify.js')

const at = (path) => fileURLToPath(new URL(path, import.meta.url))
const includeDirs = [at('../../../tests/conformance/proto'), at('../../../proto'), at('node_modules/protobufjs')]
const file = 'conformance/catalog/v1/catalog.proto'
const { Catalog } = grpc.loadPackageDefinition(loadSync(file, { includeDirs })).conformance.catalog.v1
const name = 'conformance.catalog.v1.Catalog'
const path = `/${name}/Get`
const issuer = 'https://issuer.example'

/** Returns microseconds of CPU time: the best of five rounds. */
async function perCall(work, calls) {
  let best = Number.POSITIVE_INFINITY
  for (let round = 0; round < 5; round++) {
    const before = process.cpuUsage()
    for (let call = 0; call < calls; call++) await work()
    const { user, system } = process.cpuUsage(before)
    best = Math.min(best, (user + system) / calls)
  }
  return best
}

const { privateKey, publicKey } = await generateKeyPair('ES256')
const now = Math.floor(Date.now() / 1_000)
const token = await new SignJWT({ iss: issuer, sub: 's', client_id: 's', aud: 'catalog', jti: '1', scope: 'catalog.read' })
  .setProtectedHeader({ alg: 'ES256', kid: 'a', typ: 'at+jwt' })
  .setIssuedAt(now)
  .setExpirationTime(now + 3_600)
  .sign(privateKey)

const server = new grpc.Server()
server.addService(Catalog.service, { get: ({ request }, done) => done(null, request) })
const port = await new Promise((resolve) =>
  server.bindAsync('localhost:0', grpc.ServerCredentials.createInsecure(), (_, bound) => resolve(bound)),
)
const client = new Catalog(`localhost:${port}`, grpc.credentials.createInsecure())
const metadata = new grpc.Metadata()
metadata.set('authorization', `Bearer ${token}`)
const echo = await perCall(
  () => new Promise((resolve, reject) => client.get({ text: 'a' }, metadata, (error) => (error ? reject(error) : resolve()))),
  1_000,
)

const keys = await KeySet.fromJwks(JSON.stringify({ keys: [{ ...(await exportJWK(publicKey)), kid: 'a' }] }))
const policy = policyOf(file, { includeDirs })
const trusted = TrustedIssuer.fixed(issuer, keys)
const layer = new Layer(new Verifier([trusted]), policy.serve([name]))
await layer.enter(path, [`Bearer ${token}`])
const entered = await perCall(() => layer.enter(path, [`Bearer ${token}`]), 20_000)
const verified = await perCall(() => new Verifier([trusted]).verify(token, 'catalog'), 500)

const needs = new Needs(policy.call())
const tokens = new Tokens(new StaticToken(token), systemRuntime)
await new Promise((resolve) => tokens.of(needs.of(path).request).obtain(resolve))
const attached = await perCall(() => {
  const { request, replayable } = needs.of(path)
  procedure(tokens.of(request), path, replayable, undefined, systemRuntime).next()
}, 20_000)

for (const [part, cost] of [
  ['the call itself: an echo over loopback, client and server', echo],
  ['the server layer, for a token that was seen before', entered],
  ['the client layer', attached],
  ['the verification of a new token: ES256, once per token', verified],
]) {
  console.log(`| ${part} | ${cost.toFixed(1)} µs | ${((cost / echo) * 100).toFixed(1)} % |`)
}
process.exit()
