// The behaviour of the call credentials, with a fake issuer and a stopped clock.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { inspect } from 'node:util'
import grpc from '@grpc/grpc-js'
import protobuf from 'protobufjs'
import { TokenCredentials } from './token-credentials.js'

const settled = () => new Promise((resolve) => setImmediate(resolve))

class World {
  now = { monotonic: 0, wall: 1_795_000_000_000 }
  requests = []
  asked = 0
  issued = 0
  jitter = 1
  credentials = new TokenCredentials(
    () => {
      this.asked += 1
      return new Promise((resolve, reject) => this.requests.push({ resolve, reject }))
    },
    { clock: () => this.now, jitter: () => this.jitter },
  )

  pass(ms) {
    this.now = { monotonic: this.now.monotonic + ms, wall: this.now.wall + ms }
  }

  setClock(ms) {
    this.now = { ...this.now, wall: this.now.wall + ms }
  }

  async answer(failure) {
    const { resolve, reject } = this.requests.shift()
    if (failure) reject(failure)
    else
      resolve({
        token: {
          value: `token-${++this.issued}`,
          expiresIn: { seconds: '300', nanos: 0 },
          refreshAfter: { seconds: '240', nanos: 0 },
        },
      })
    await settled()
  }

  header() {
    return this.credentials.header()
  }

  async refuses(code, words) {
    await assert.rejects(this.header(), (error) => error.code === code && error.message.includes(words))
  }

  static async ready() {
    const world = new World()
    const first = world.header()
    await world.answer()
    assert.equal(await first, 'Bearer token-1')
    return world
  }
}

const { UNAVAILABLE, UNAUTHENTICATED, RESOURCE_EXHAUSTED } = grpc.status
const { root } = protobuf.parse(`syntax = "proto3";
  message Duration { int64 seconds = 1; int32 nanos = 2; }
  message Any { string type_url = 1; bytes value = 2; }
  message Status { int32 code = 1; string message = 2; repeated Any details = 3; }
  message ErrorInfo { string reason = 1; string domain = 2; map<string, string> metadata = 3; }
  message RetryInfo { Duration retry_delay = 1; }`)

function failed(code, details = {}) {
  const packed = Object.entries(details).map(([type, message]) => ({
    typeUrl: `type.googleapis.com/google.rpc.${type}`,
    value: root.lookupType(type).encode(message).finish(),
  }))
  const metadata = new grpc.Metadata()
  const encoded = root.lookupType('Status').encode({ code, details: packed }).finish()
  metadata.set('grpc-status-details-bin', Buffer.from(encoded))
  return Object.assign(new Error('words of the issuer'), { code, metadata })
}

test('many first calls share one request', async () => {
  const world = new World()
  const calls = Array.from({ length: 100 }, () => world.header())
  await world.answer()
  assert.deepEqual(new Set(await Promise.all(calls)), new Set(['Bearer token-1']))
  assert.equal(world.asked, 1)
})

test('many first calls share one failure', async () => {
  const world = new World()
  const calls = Array.from({ length: 100 }, () => world.refuses(UNAVAILABLE, 'UNAVAILABLE'))
  await world.answer(failed(UNAVAILABLE))
  await Promise.all(calls)
  assert.equal(world.asked, 1)
})

test('renews in the background without delaying a call', async () => {
  const world = await World.ready()
  world.pass(239_000)
  assert.equal(await world.header(), 'Bearer token-1')
  assert.equal(world.asked, 1)
  world.pass(1_000)
  for (let i = 0; i < 100; i++) assert.equal(await world.header(), 'Bearer token-1')
  assert.equal(world.asked, 2)
  await world.answer()
  assert.equal(await world.header(), 'Bearer token-2')
  assert.equal(world.asked, 2)
})

test('serves a token until it expires while the issuer is down', async () => {
  const world = await World.ready()
  world.pass(240_000)
  assert.equal(await world.header(), 'Bearer token-1')
  await world.answer(failed(UNAVAILABLE))
  world.pass(59_900)
  assert.equal(await world.header(), 'Bearer token-1')
  await world.answer(failed(UNAVAILABLE))
  world.pass(100)
  await world.refuses(UNAVAILABLE, 'UNAVAILABLE')
})

test('never uses a token past its expiry after a suspend', async () => {
  const world = await World.ready()
  world.setClock(2 * 3_600_000)
  const call = world.header()
  await world.answer()
  assert.equal(await call, 'Bearer token-2')
})

test('never uses a token past its expiry when the clock is set back', async () => {
  const world = await World.ready()
  world.setClock(-86_400_000)
  world.pass(300_000)
  const call = world.header()
  await world.answer()
  assert.equal(await call, 'Bearer token-2')
})

test('a token that expired on its way is not used', async () => {
  const world = new World()
  const call = world.refuses(UNAVAILABLE, 'expired on its way')
  world.pass(301_000)
  await world.answer()
  await call
})

test('a failure is remembered for the backoff and no longer', async () => {
  const world = new World()
  for (const [i, backoff] of [100, 200, 400].entries()) {
    const call = world.refuses(UNAVAILABLE, 'UNAVAILABLE')
    assert.equal(world.asked, i + 1)
    await world.answer(failed(UNAVAILABLE))
    await call
    world.pass(backoff - 1)
    await world.refuses(UNAVAILABLE, 'UNAVAILABLE')
    assert.equal(world.asked, i + 1)
    world.pass(1)
  }
  const call = world.header()
  await world.answer()
  assert.equal(await call, 'Bearer token-1')
})

test('backoff ends at thirty seconds', async () => {
  const world = new World()
  for (let i = 0; i < 70; i++) {
    world.pass(30_000)
    const call = world.refuses(UNAVAILABLE, 'UNAVAILABLE')
    await world.answer(failed(UNAVAILABLE))
    await call
  }
  assert.equal(world.asked, 70)
})

test('backoff begins anew after a token', async () => {
  const world = new World()
  for (let i = 0; i < 5; i++) {
    const call = world.refuses(UNAVAILABLE, 'UNAVAILABLE')
    await world.answer(failed(UNAVAILABLE))
    await call
    world.pass(30_000)
  }
  const first = world.header()
  await world.answer()
  await first
  world.pass(300_000)
  const call = world.refuses(UNAVAILABLE, 'UNAVAILABLE')
  await world.answer(failed(UNAVAILABLE))
  await call
  world.pass(100)
  world.header().catch(() => {})
  assert.equal(world.asked, 8)
})

test('honours RetryInfo', async () => {
  const world = new World()
  const call = world.refuses(UNAVAILABLE, 'RESOURCE_EXHAUSTED')
  await world.answer(failed(RESOURCE_EXHAUSTED, { RetryInfo: { retryDelay: { seconds: 7, nanos: 0 } } }))
  await call
  world.pass(6_999)
  await world.refuses(UNAVAILABLE, 'RESOURCE_EXHAUSTED')
  assert.equal(world.asked, 1)
  world.pass(1)
  world.header().catch(() => {})
  assert.equal(world.asked, 2)
})

test('a wrong secret is named and remembered for a second', async () => {
  const world = new World()
  const reason = 'CLIENT_AUTHENTICATION_FAILED'
  world.jitter = 0
  const call = world.refuses(UNAUTHENTICATED, reason)
  await world.answer(failed(UNAUTHENTICATED, { ErrorInfo: { domain: 'm2m.token.v1', reason } }))
  await call
  world.pass(999)
  await world.refuses(UNAUTHENTICATED, reason)
  assert.equal(world.asked, 1)
  world.pass(1)
  world.header().catch(() => {})
  assert.equal(world.asked, 2)
})

test('the words of the issuer are not passed on', async () => {
  const world = new World()
  const call = assert.rejects(world.header(), (error) => !error.message.includes('words of the issuer'))
  await world.answer(failed(UNAVAILABLE))
  await call
})

test('a channel with a token is a TLS channel', async () => {
  const world = await World.ready()
  assert.ok(world.credentials.channelCredentials()._isSecure())
})

test('prints neither secret nor token', async () => {
  const world = await World.ready()
  assert.ok(!inspect(world.credentials, { depth: 9, showHidden: true }).includes('token-1'))
  assert.ok(!JSON.stringify(world.credentials).includes('token-1'))
})
