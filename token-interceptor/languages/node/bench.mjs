// The cost of the layers beside an echo of the same language: node bench.mjs, after conformance/build.
//
// Measures unary calls over loopback: the plain echo, with the server layer, and with the client layer. Each
// round has all three, in turn. Prints CPU time of the whole process, in microseconds per call, for ../bench.

import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import grpc from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'

const require = createRequire(import.meta.url)
const { ClientTokens } = require('./build/src/client.js')
const { KeySet } = require('./build/src/keys.js')
const { policyOf } = require('./build/src/protos.js')
const { TokenServer } = require('./build/src/server.js')
const { StaticToken } = require('./build/src/sources.js')
const { TrustedIssuer, Verifier } = require('./build/src/verify.js')

const CALLS = 100
const NEW_TOKENS = 50
const at = (path) => fileURLToPath(new URL(path, import.meta.url))
const includeDirs = [at('../../../tests/conformance/proto'), at('../../../proto'), at('node_modules/protobufjs')]
const file = 'conformance/catalog/v1/catalog.proto'
const { Catalog } = grpc.loadPackageDefinition(loadSync(file, { includeDirs })).conformance.catalog.v1
const policy = policyOf(file, { includeDirs })
const issuer = 'https://issuer.example'

/** Returns microseconds of CPU time. */
async function perCall(work, calls = CALLS) {
  const before = process.cpuUsage()
  for (let call = 0; call < calls; call++) await work()
  const { user, system } = process.cpuUsage(before)
  return (user + system) / calls
}

const { privateKey, publicKey } = await generateKeyPair('ES256')
const now = Math.floor(Date.now() / 1_000)
const token = await new SignJWT({ iss: issuer, sub: 's', client_id: 's', aud: 'catalog', jti: '1', scope: 'catalog.read' })
  .setProtectedHeader({ alg: 'ES256', kid: 'a', typ: 'at+jwt' })
  .setIssuedAt(now)
  .setExpirationTime(now + 3_600)
  .sign(privateKey)
const keys = await KeySet.fromJwks(JSON.stringify({ keys: [{ ...(await exportJWK(publicKey)), kid: 'a' }] }))
const trusted = TrustedIssuer.fixed(issuer, keys)

const serve = (server) => {
  server.addService(Catalog.service, { get: ({ request }, done) => done(null, request) })
  return new Promise((resolve, reject) =>
    server.bindAsync('localhost:0', grpc.ServerCredentials.createInsecure(), (error, port) =>
      error ? reject(error) : resolve(`localhost:${port}`),
    ),
  )
}
const plaintext = grpc.credentials.createInsecure()
const plain = await serve(new grpc.Server())
const guarded = await serve(new TokenServer({ issuers: [trusted], policy }))
const tokens = new ClientTokens({ source: new StaticToken(token), policy })
const header = new grpc.Metadata()
header.set('authorization', `Bearer ${token}`)
const call = (client, metadata) => () =>
  new Promise((resolve, reject) => client.get({ text: 'a' }, metadata, (error) => (error ? reject(error) : resolve())))

// Every call sends the same header, so that only the layers differ.
const ways = [
  call(new Catalog(plain, plaintext), header),
  call(new Catalog(guarded, plaintext), header),
  call(new Catalog(...tokens.to(plain, plaintext)), new grpc.Metadata()),
]
for (const way of ways) for (let warm = 0; warm < 10; warm++) await perCall(way)
const rounds = []
const newToken = []
for (let round = 0; round < Number(process.env.BENCH_ROUNDS ?? 151); round++) {
  const cost = []
  for (let turn = 0; turn < ways.length; turn++) {
    const which = (round + turn) % ways.length
    cost[which] = await perCall(ways[which])
  }
  rounds.push(cost)
  // Verifiers that have not seen the token. To make one is not part of the cost.
  const verifiers = Array.from({ length: NEW_TOKENS }, () => new Verifier([trusted]))
  newToken.push(await perCall(() => verifiers.pop().verify(token, 'catalog'), NEW_TOKENS))
}
console.log(JSON.stringify({ rounds, new_token: newToken }))
process.exit()
