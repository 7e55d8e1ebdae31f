// The source of the verifier's keys, and the allowed difference of the clocks.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { SignJWT, exportJWK, generateKeyPair } from 'jose'
import { discover, Verifier } from 'm2m-token'

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
const verifierOf = (issuer) => new Verifier([discover(issuer, { cooldown: 1_000 })])

/** Tries again while the failure may pass. */
async function soon(work) {
  for (let tries = 0; ; tries++) {
    try {
      return await work()
    } catch (error) {
      if (!error.isTransient || tries === 100) throw error
      await pause(100)
    }
  }
}

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
    const verifier = verifierOf(issuer)
    // The issuer is not running yet. The verifier starts without it and asks again.
    await assert.rejects(verifier.verify(await token(issuer), 'inventory'), { reason: 'TRUST_UNAVAILABLE' })
    documents[path] = { issuer, jwks_uri: `${place}/elsewhere/keys` }
    assert.equal((await soon(async () => verifier.verify(await token(issuer), 'inventory'))).clientId, 's')
    verifier.close()
  }
  documents['/.well-known/openid-configuration'] = { issuer: `${place}/other`, jwks_uri: `${place}/elsewhere/keys` }
  const other = verifierOf(place)
  await assert.rejects(other.verify(await token(place), 'inventory'), { reason: 'TRUST_UNAVAILABLE' })
  other.close()
  server.close()
})

test('clocks may disagree by five seconds', async () => {
  const { server, documents, place } = await served()
  documents['/.well-known/openid-configuration'] = { issuer: place, jwks_uri: `${place}/elsewhere/keys` }
  const verifier = verifierOf(place)
  for (const claims of [{ iat: now() + 3 }, { nbf: now() + 3 }, { exp: now() - 3 }]) {
    await verifier.verify(await token(place, claims), 'inventory')
  }
  for (const claims of [{ iat: now() + 10 }, { nbf: now() + 10 }, { exp: now() - 10 }]) {
    await assert.rejects(verifier.verify(await token(place, claims), 'inventory'))
  }
  verifier.close()
  server.close()
})
