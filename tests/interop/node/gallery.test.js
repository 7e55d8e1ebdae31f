// Runs every forged token of the gallery. gallery.json records the accepted ones.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import grpc from '@grpc/grpc-js'
import { createLocalJWKSet, errors, jwtVerify } from 'jose'
import { Denied, KeySet, TokenServer, TrustedIssuer, Verifier } from 'm2m-token'
import { InventoryService, policy } from './world.js'

const read = (path) => JSON.parse(readFileSync(new URL(path, import.meta.url), 'utf8'))
const { issuer, audience, jwks, good, forgeries } = read('../../../token-interceptor/testdata/forgeries.json')
const record = read('../gallery.json')
const keys = createLocalJWKSet(jwks)
const trusted = TrustedIssuer.fixed(issuer, await KeySet.fromJwks(JSON.stringify(jwks)))
const verifier = new Verifier([trusted])

for (const [name, verify] of Object.entries({
  jose: (token) => jwtVerify(token, keys, { issuer, audience }),
  'm2m-token of Node': (token) => verifier.verify(token, audience),
})) {
  test(`${name} accepts what is on record`, async () => {
    for (const { token } of good) await verify(token)
    const accepted = []
    for (const { name, token } of forgeries) {
      try {
        await verify(token)
        accepted.push(name)
      } catch (error) {
        assert.ok(error instanceof errors.JOSEError || error instanceof Denied, error)
      }
    }
    assert.ok(forgeries.length > 100)
    assert.deepEqual(accepted, record[name])
  })
}

test('a server accepts over the wire what is on record', async (t) => {
  // As in an application, the layer protects every method. It trusts the gallery's issuer.
  const server = new TokenServer({ issuers: [trusted], policy })
  server.addService(InventoryService.service, { getItem: (_, done) => done(null, {}) })
  const port = await server.listen('127.0.0.1:0', grpc.ServerCredentials.createInsecure())
  t.after(() => server.forceShutdown())
  const service = new InventoryService(`127.0.0.1:${port}`, grpc.credentials.createInsecure())
  t.after(() => service.close())
  const accepts = async (token) => {
    const metadata = new grpc.Metadata()
    metadata.set('authorization', `Bearer ${token}`)
    const code = await new Promise((resolve) =>
      service.getItem({}, metadata, (error) => resolve(error?.code ?? grpc.status.OK)),
    )
    // Most tokens lack the scope, which is checked after the token.
    const { OK, PERMISSION_DENIED, UNAUTHENTICATED } = grpc.status
    assert.ok([OK, PERMISSION_DENIED, UNAUTHENTICATED].includes(code), grpc.status[code])
    return code !== UNAUTHENTICATED
  }
  for (const { token } of good) assert.ok(await accepts(token))
  // The transport rejects a token that is longer than a header may be.
  const sent = forgeries.filter(({ token }) => token.length < 8000)
  const accepted = []
  for (const { name, token } of sent) if (await accepts(token)) accepted.push(name)
  const known = new Set(sent.map(({ name }) => name))
  assert.deepEqual(accepted, record['m2m-token of Node'].filter((name) => known.has(name)))
})
