// jose decrypts a token that the issuer encrypted to its audience, and verifies the token inside. RFC 7516.

import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { test } from 'node:test'
import { calculateJwkThumbprint, compactDecrypt, createRemoteJWKSet, exportJWK, generateKeyPair, jwtVerify } from 'jose'
import { env } from './world.js'

const program = env('TOKEN_SERVER')

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address()
  server.close()
  await once(server, 'close')
  return port
}

/** A separate issuer, in plaintext on loopback, that encrypts the tokens for `inventory` to `key`. */
async function issuer(t, key) {
  const folder = mkdtempSync(join(tmpdir(), 'issuer-'))
  const file = (name, text) => {
    writeFileSync(join(folder, name), text, { mode: 0o600 })
    return join(folder, name)
  }
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  const config = file('token-server.toml', `
    issuer.url = "${url}"
    listen = { address = "127.0.0.1:${port}", threads = 1 }
    store.url = "sqlite://${folder}/token-server.db"
    keys.sealing_key_file = "${file('sealing.key', randomBytes(32).toString('base64'))}"
    secrets.pepper_file = "${file('pepper.key', randomBytes(32).toString('base64'))}"
    telemetry.audit = "off"
    [[tokens.audience]]
    name = "inventory"
    encryption_key_file = "${file('inventory.jwk', JSON.stringify(key))}"
  `)
  const create = ['client', 'create', 'orders', '--offline', '--config', config, '--grant', 'inventory=inventory.read']
  const { client_secret: secret } = JSON.parse(execFileSync(program, [...create, '--json']))
  const server = spawn(program, ['serve', '--config', config], { stdio: ['ignore', 'ignore', 'inherit'] })
  t.after(async () => {
    server.kill()
    await once(server, 'exit')
    rmSync(folder, { recursive: true })
  })
  for (let attempt = 0; ; attempt++) {
    const answer = await fetch(`${url}/healthz`).catch(() => undefined)
    if (answer?.ok) break
    assert.ok(attempt < 100 && server.exitCode === null, 'the issuer does not start')
    await pause(100)
  }
  return { url, secret }
}

async function tokenFor(url, secret) {
  const answer = await fetch(`${url}/oauth/token`, {
    method: 'POST',
    headers: { authorization: `Basic ${btoa(`orders:${secret}`)}` },
    body: new URLSearchParams({ grant_type: 'client_credentials', audience: 'inventory', scope: 'inventory.read' }),
  })
  assert.equal(answer.status, 200)
  return (await answer.json()).access_token
}

test('jose opens an encrypted token and verifies the signed one inside', async (t) => {
  const { privateKey, publicKey } = await generateKeyPair('ECDH-ES', { crv: 'P-256', extractable: true })
  const jwk = await exportJWK(publicKey)
  const { url, secret } = await issuer(t, jwk)
  const token = await tokenFor(url, secret)

  const allowed = { keyManagementAlgorithms: ['ECDH-ES'], contentEncryptionAlgorithms: ['A256GCM'] }
  const { plaintext, protectedHeader } = await compactDecrypt(token, privateKey, allowed)
  assert.equal(protectedHeader.cty, 'JWT')
  assert.equal(protectedHeader.kid, await calculateJwkThumbprint(jwk))
  const keys = createRemoteJWKSet(new URL(`${url}/jwks.json`))
  const signed = new TextDecoder().decode(plaintext)
  const { payload } = await jwtVerify(signed, keys, { issuer: url, audience: 'inventory', typ: 'at+jwt' })
  assert.equal(payload.client_id, 'orders')
})

test('another key does not open it', async (t) => {
  const { publicKey } = await generateKeyPair('ECDH-ES', { crv: 'P-256', extractable: true })
  const { privateKey: other } = await generateKeyPair('ECDH-ES', { crv: 'P-256', extractable: true })
  const { url, secret } = await issuer(t, await exportJWK(publicKey))
  await assert.rejects(compactDecrypt(await tokenFor(url, secret), other))
})
