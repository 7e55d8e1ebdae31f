// Every forged token of the gallery, and which of them get through; gallery.json has them on record.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { createLocalJWKSet, errors, jwtVerify } from 'jose'
import { TokenVerifier } from './token-verifier.js'

const read = (path) => JSON.parse(readFileSync(new URL(path, import.meta.url), 'utf8'))
const { issuer, audience, jwks, good, forgeries } = read('../../../token-interceptor/testdata/forgeries.json')
const record = read('../gallery.json')
const keys = createLocalJWKSet(jwks)
const verifier = new TokenVerifier({ issuer, audience, scopes: {}, keys })

for (const [name, verify] of Object.entries({
  jose: (token) => jwtVerify(token, keys, { issuer, audience }),
  'jose, token-verifier.js': (token) => verifier.verify(token),
})) {
  test(`${name} accepts what is on record`, async () => {
    for (const { token } of good) await verify(token)
    const accepted = []
    for (const { name, token } of forgeries) {
      try {
        await verify(token)
        accepted.push(name)
      } catch (error) {
        assert.ok(error instanceof errors.JOSEError, error)
      }
    }
    assert.ok(forgeries.length > 100)
    assert.deepEqual(accepted, record[name])
  })
}
