// A Node server behind the package's layer.

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { promisify } from 'node:util'
import grpc from '@grpc/grpc-js'
import * as client from 'openid-client'
import { callerOf, currentCaller, discover, TokenServer } from 'm2m-token'
import { call, env, errorDetails, inventory, InventoryService, list, policy, rootCertificates, tokens } from './world.js'

const { PERMISSION_DENIED, UNAUTHENTICATED } = grpc.status

async function serve(t, { audience = 'inventory' } = {}) {
  const issuer = discover(env('TOKEN_ISSUER'), { extraRoots: rootCertificates(), audiences: [audience] })
  const server = new TokenServer({ issuers: [issuer], policy })
  server.addService(InventoryService.service, {
    getItem: (call, done) =>
      done(null, {
        item: { sku: call.request.sku, name: 'served by Node', inStock: 1 },
        askedBy: callerOf(call).clientId,
      }),
    listItems: (call) => {
      call.write({ item: { name: `for ${currentCaller().clientId}` } })
      call.end()
    },
    deleteItem: (_, done) => done(null, {}),
    getOpeningHours: (_, done) => done(null, { hours: 'around the clock' }),
  })
  const key = readFileSync(env('TOKEN_TLS_KEY'))
  const certificate = readFileSync(env('TOKEN_TLS_CERTIFICATE'))
  const credentials = grpc.ServerCredentials.createSsl(null, [{ private_key: key, cert_chain: certificate }])
  const port = await server.listen('127.0.0.1:0', credentials)
  t.after(() => server.forceShutdown())
  return `localhost:${port}`
}

test('takes our tokens and asks for the scope', async (t) => {
  const ours = inventory(t, await serve(t), tokens())
  const { askedBy } = await call(ours, 'getItem', { sku: 'A-1' })
  assert.equal(askedBy, env('TOKEN_CLIENT_ID'))
  await assert.rejects(call(ours, 'deleteItem', {}), { code: PERMISSION_DENIED })
})

test('a stream is served to a valid token', async (t) => {
  const [item] = await list(inventory(t, await serve(t), tokens()))
  assert.equal(item.name, `for ${env('TOKEN_CLIENT_ID')}`)
})

test('refuses a token for another audience', async (t) => {
  const target = await serve(t, { audience: 'elsewhere' })
  await assert.rejects(call(inventory(t, target, tokens()), 'getItem', {}), { code: UNAUTHENTICATED })
})

test('refuses everything else', async (t) => {
  const secret = client.ClientSecretBasic(env('TOKEN_CLIENT_SECRET'))
  const config = await client.discovery(new URL(env('TOKEN_ISSUER')), env('TOKEN_CLIENT_ID'), {}, secret)
  const { access_token: token } = await client.clientCredentialsGrant(config, { audience: 'inventory' })
  const unsigned = token.slice(0, token.lastIndexOf('.'))
  const ours = inventory(t, await serve(t))
  const send = (...values) => {
    const metadata = new grpc.Metadata()
    for (const value of values) metadata.add('authorization', value)
    return call(ours, 'getItem', { sku: 'A-1' }, metadata)
  }
  await send(`Bearer ${token}`)
  for (const [name, values] of Object.entries({
    'no token': [],
    'no bearer': [`Basic ${token}`],
    'two tokens': [`Bearer ${token}, Bearer ${token}`],
    'no signature': [`Bearer ${unsigned}.`],
    "another's signature": [`Bearer ${unsigned}.${'A'.repeat(86)}`],
    'something else': ['Bearer something'],
    'a token in lowercase': [`Bearer ${token.toLowerCase()}`],
  })) {
    await assert.rejects(send(...values), { code: UNAUTHENTICATED }, name)
  }
})

test('the Rust client of a Node server', async (t) => {
  const target = await serve(t)
  const orders = await promisify(execFile)(env('ORDERS'), ['--seconds', '0', '--inventory', `https://${target}`])
  assert.match(orders.stdout, /served by Node, asked by orders/)
  const denied = 'PERMISSION_DENIED SCOPE_INSUFFICIENT, missing scope: inventory.write'
  assert.ok(orders.stdout.includes(`DeleteItem with a token for inventory.read: ${denied}`), orders.stdout)
})

test('says why it refuses', async (t) => {
  const ours = inventory(t, await serve(t))
  for (const [sent, reason] of [
    [[], 'CREDENTIALS_MISSING'],
    [['Bearer a.b.c'], 'TOKEN_INVALID'],
  ]) {
    const metadata = new grpc.Metadata()
    for (const value of sent) metadata.add('authorization', value)
    const error = await call(ours, 'getItem', {}, metadata).then(assert.fail, (error) => error)
    assert.equal(errorDetails(error).reason, reason)
    assert.match(String(error.metadata.get('www-authenticate')), /^Bearer/)
  }
})
