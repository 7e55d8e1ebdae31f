// The source of the verifier's keys, and the allowed difference of the clocks.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { test } from 'node:test'
import { SignJWT, exportJWK, generateKeyPair } from 'jose'
import { TokenVerifier } from './token-verifier.js'

const { privateKey, publicKey } = await generateKeyPair('ES256')
const jwk = { ...(await exportJWK(publicKey)), kid: 'a', alg: 'ES256', use: 'sig' }

/** A server whose documents are added by path. */
async function served() {
  /** @type {Record<string, object>} */
  const documents = { '/elsewhere/keys': { keys: [jwk] } }
  const server = createServer((request, answer) => {
    const document = documents[String(request.url)]
    answer.writeHead(document ? 200 : 404, { 'content-type': 'application/json' })
    answer.end(JSON.stringify(document ?? {}))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address())
  return { server, documents, place: `http://127.0.0.1:${port}` }
}

const now = () => Math.floor(Date.now() / 1_000)

/** @param {string} issuer */
const token = (issuer, claims = {}) =>
  new SignJWT({ iss: issuer, aud: 'inventory', sub: 's', client_id: 's', jti: '1', iat: now(), exp: now() + 60, ...claims })
    .setProtectedHeader({ alg: 'ES256', kid: 'a', typ: 'at+jwt' })
    .sign(privateKey)

test('keys are where the metadata say, also of issuers with a path', async () => {
  const { server, documents, place } = await served()
  for (const suffix of ['', '/', '/sso/tokens', '/sso/tokens/']) {
    const issuer = place + suffix
    const path = `${suffix.replace(/\/$/, '')}/.well-known/openid-configuration`
    delete documents[path]
    const verifier = new TokenVerifier({ issuer, audience: 'inventory', scopes: {} })
    // The issuer is not running yet. The verifier starts without it and asks again.
    await assert.rejects(verifier.verify(await token(issuer)))
    documents[path] = { issuer, jwks_uri: `${place}/elsewhere/keys` }
    assert.equal((await verifier.verify(await token(issuer))).client_id, 's')
  }
  documents['/.well-known/openid-configuration'] = { issuer: `${place}/other`, jwks_uri: `${place}/elsewhere/keys` }
  const other = new TokenVerifier({ issuer: place, audience: 'inventory', scopes: {} })
  await assert.rejects(other.verify(await token(place)), /another issuer/)
  server.close()
})

test('clocks may disagree by five seconds', async () => {
  const { server, documents, place } = await served()
  documents['/.well-known/openid-configuration'] = { issuer: place, jwks_uri: `${place}/elsewhere/keys` }
  const verifier = new TokenVerifier({ issuer: place, audience: 'inventory', scopes: {} })
  for (const claims of [{ iat: now() + 3 }, { nbf: now() + 3 }, { exp: now() - 3 }]) {
    await verifier.verify(await token(place, claims))
  }
  for (const claims of [{ iat: now() + 10 }, { nbf: now() + 10 }, { exp: now() - 10 }]) {
    await assert.rejects(verifier.verify(await token(place, claims)))
  }
  server.close()
})
