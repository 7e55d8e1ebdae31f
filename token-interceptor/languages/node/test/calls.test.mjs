// The layers of both ends over a real connection.

import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import grpc from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'

const require = createRequire(import.meta.url)
const { ClientTokens } = require('../build/src/client.js')
const { KeySet } = require('../build/src/keys.js')
const { currentCaller } = require('../build/src/layer.js')
const { policyOf } = require('../build/src/protos.js')
const { Revocations } = require('../build/src/revocations.js')
const { TokenServer } = require('../build/src/server.js')
const { IssuedToken, SourceError } = require('../build/src/source.js')
const { TrustedIssuer } = require('../build/src/verify.js')

const root = fileURLToPath(new URL('../../../..', import.meta.url))
const node = `${root}/token-interceptor/languages/node/node_modules/protobufjs`
const includeDirs = [`${root}/tests/conformance/proto`, `${root}/proto`, node]
const { Catalog } = grpc.loadPackageDefinition(loadSync('conformance/catalog/v1/catalog.proto', { includeDirs })).conformance.catalog.v1
const policy = policyOf('conformance/catalog/v1/catalog.proto', { includeDirs })
const ISSUER = 'https://issuer.example'
const { privateKey, publicKey } = await generateKeyPair('ES256')
const keys = await KeySet.fromJwks(JSON.stringify({ keys: [{ ...(await exportJWK(publicKey)), kid: 'a' }] }))

function sign(lifetime, jti) {
  const now = Math.floor(Date.now() / 1_000)
  return new SignJWT({ scope: 'catalog.read', client_id: 'orders', jti })
    .setProtectedHeader({ alg: 'ES256', kid: 'a', typ: 'at+jwt' })
    .setIssuer(ISSUER)
    .setSubject('orders')
    .setAudience('catalog')
    .setIssuedAt(now - 60)
    .setExpirationTime(now + lifetime)
    .sign(privateKey)
}

async function world(t, { lifetime = 60, ...options } = {}) {
  const revocations = new Revocations()
  const served = []
  const server = new TokenServer({ issuers: [TrustedIssuer.fixed(ISSUER, keys, { revocations })], policy, ...options })
  const watch = (call) => {
    served.push(currentCaller()?.clientId)
    call.write({ text: 'first' })
  }
  const get = (_, done) => {
    served.push(currentCaller()?.clientId)
    const marks = new grpc.Metadata()
    marks.set('token-refused', 'before-handler /a/B')
    done(null, { text: 'here' }, marks)
  }
  const upload = (call, done) => {
    const texts = []
    call.on('data', ({ text }) => texts.push(text))
    call.on('end', () => done(null, { text: texts.join() }))
  }
  const chat = (call) => {
    call.on('data', (message) => {
      served.push(message.text)
      call.write(message)
    })
    call.on('end', () => call.end())
  }
  const all = Object.fromEntries(Object.keys(Catalog.service).map((name) => [name, get]))
  server.addService(Catalog.service, { ...all, Watch: watch, Upload: upload, Chat: chat })
  const port = await server.listen('localhost:0', grpc.ServerCredentials.createInsecure())
  let issued = 0
  const source = { fetch: async () => new IssuedToken(await sign(lifetime, `t${++issued}`), 60_000) }
  const tokens = new ClientTokens({ source, policy })
  const client = new Catalog(...tokens.to(`localhost:${port}`, grpc.credentials.createInsecure()))
  const bare = new Catalog(`localhost:${port}`, grpc.credentials.createInsecure())
  t.after(() => {
    client.close()
    bare.close()
    tokens.close()
    server.forceShutdown()
  })
  return { client, bare, revocations, served, port, issued: () => issued }
}

async function bearer(jti) {
  const metadata = new grpc.Metadata()
  metadata.set('authorization', `Bearer ${await sign(60, jti)}`)
  return metadata
}

const unary = (client, method, metadata = new grpc.Metadata()) =>
  new Promise((resolve) => {
    let trailers
    const call = client[method]({}, metadata, { deadline: Date.now() + 20_000 }, (error, answer) =>
      setImmediate(() => resolve({ error, answer, trailers })),
    )
    call.on('status', (status) => {
      trailers = status.metadata
    })
  })

const ended = (stream) =>
  new Promise((resolve) => {
    stream.on('data', () => {})
    stream.on('error', resolve)
    stream.on('end', () => {})
  })

test('a call carries its token, and a handler sees its caller and makes no mark', async (t) => {
  const { client, served } = await world(t)
  const { error, answer, trailers } = await unary(client, 'get')
  assert.equal(error, null)
  assert.equal(answer.text, 'here')
  assert.deepEqual(trailers.get('token-refused'), [])
  assert.deepEqual(served, ['orders'])
})

test('a call without a token is refused before the handler, and a public one is not', async (t) => {
  const { bare, served } = await world(t)
  const { error } = await unary(bare, 'get')
  assert.equal(error.code, grpc.status.UNAUTHENTICATED)
  assert.deepEqual(error.metadata.get('www-authenticate'), ['Bearer'])
  assert.deepEqual(served, [])
  assert.equal((await unary(bare, 'ping')).error, null)
})

test('an identifying method knows its caller if there is one', async (t) => {
  const { client, bare, served, port } = await world(t)
  await unary(bare, 'greet')
  await unary(client, 'greet')
  const anonymous = []
  for (const options of [
    { source: { fetch: async () => { throw new SourceError('not granted', { refusal: 'target' }) } } },
    { source: { fetch: () => assert.fail('there is no caller') }, onBehalfOfCaller: true },
  ]) {
    const tokens = new ClientTokens({ ...options, policy })
    const without = new Catalog(...tokens.to(`localhost:${port}`, grpc.credentials.createInsecure()))
    t.after(() => without.close())
    for (let call = 0; call < 2; call++) anonymous.push((await unary(without, 'greet')).error)
    assert.notEqual((await unary(without, 'get')).error, null)
  }
  assert.deepEqual(anonymous, [null, null, null, null])
  assert.deepEqual(served, [undefined, 'orders', undefined, undefined, undefined, undefined])
  for (const wrong of ['Bearer rubbish', 'Basic YTpi', '']) {
    const metadata = new grpc.Metadata()
    metadata.set('authorization', wrong)
    assert.equal((await unary(bare, 'greet', metadata)).error?.code, grpc.status.UNAUTHENTICATED, wrong)
  }
})

test('call credentials leave a call anonymous where it may be, and never use the program\'s own rights', async (t) => {
  const refusing = { fetch: async () => { throw new SourceError('not granted', { refusal: 'target' }) } }
  for (const [options, method, ok] of [
    [{ source: refusing }, 'Greet', true],
    [{ source: refusing }, 'Get', false],
    [{ source: { fetch: () => assert.fail('there is no caller') }, onBehalfOfCaller: true }, 'Get', false],
  ]) {
    const credentials = new ClientTokens({ ...options, policy }).callCredentials()
    const service_url = 'https://catalog.example/conformance.catalog.v1.Catalog'
    const made = credentials.generateMetadata({ service_url, method_name: method })
    assert.equal(await made.then((metadata) => metadata.get('authorization').length === 0, () => false), ok, method)
  }
})

test('a call with interceptors of its own still carries its token', async (t) => {
  const { client, served } = await world(t)
  const interceptors = [(options, next) => new grpc.InterceptingCall(next(options))]
  await new Promise((resolve) => client.get({}, new grpc.Metadata(), { interceptors }, resolve))
  assert.deepEqual(served, ['orders'])
})

test('a revoked token is replaced, and the call is sent once more', async (t) => {
  const { client, revocations, served, issued } = await world(t)
  await unary(client, 'get')
  revocations.revokeToken('t1')
  const { error } = await unary(client, 'get')
  assert.equal(error, null)
  assert.deepEqual([issued(), served.length], [2, 2])
})

test('a stream ends within a second of its token', async (t) => {
  const { client } = await world(t, { lifetime: -3 })
  const began = performance.now()
  const error = await ended(client.watch({}))
  assert.equal(error.code, grpc.status.UNAUTHENTICATED)
  assert.equal(error.details, 'the token has expired')
  assert.ok(performance.now() - began < 8_000)
})

test('a stream ends within a second of a revocation', async (t) => {
  const { client, revocations } = await world(t)
  const stream = client.watch({})
  const over = ended(stream)
  await new Promise((resolve) => stream.once('data', resolve))
  const began = performance.now()
  revocations.revokeClient('orders', Number.POSITIVE_INFINITY)
  const error = await over
  assert.equal(error.details, 'the token was revoked')
  assert.ok(performance.now() - began < 5_000)
})

/** The outcome of an upload of these texts, which goes on unless it is closed. */
function upload(client, texts, { close = true, metadata = new grpc.Metadata() } = {}) {
  return new Promise((resolve) => {
    const call = client.upload(metadata, (error, answer) => resolve({ error, answer }))
    for (const text of texts) call.write({ text })
    if (close) call.end()
  })
}

test('streams of requests carry their token', async (t) => {
  const { client, bare, served } = await world(t)
  assert.equal((await upload(client, ['one', 'two'])).answer.text, 'one,two')
  assert.equal((await upload(bare, ['one'])).error.code, grpc.status.UNAUTHENTICATED)
  const stream = client.chat()
  for (const text of ['one', 'two']) stream.write({ text })
  stream.end()
  const echoed = []
  for await (const { text } of stream) echoed.push(text)
  assert.deepEqual(echoed, ['one', 'two'])
  assert.equal((await ended(bare.chat())).code, grpc.status.UNAUTHENTICATED)
  assert.deepEqual(served, ['one', 'two'])
})

test('a stream of requests ends with its token', async (t) => {
  const { client } = await world(t, { lifetime: -3 })
  const { error } = await upload(client, ['one'], { close: false })
  assert.equal(error.details, 'the token has expired')
})

test('streams in both directions end with a revocation, and no request comes in any more', async (t) => {
  const { client, revocations, served } = await world(t)
  const stream = client.chat()
  const over = ended(stream)
  stream.write({ text: 'one' })
  await new Promise((resolve) => stream.once('data', resolve))
  revocations.revokeClient('orders', Number.POSITIVE_INFINITY)
  assert.equal((await over).details, 'the token was revoked')
  stream.write({ text: 'two' })
  assert.deepEqual(served, ['one'])
})

test('observe mode lets a call pass, records it, and tells the handler its caller', async (t) => {
  const denied = []
  const onDenied = (path, { reason }) => denied.push([path, reason])
  const { bare, served } = await world(t, { observe: true, onDenied })
  assert.equal((await unary(bare, 'get')).answer.text, 'here')
  // The token is valid, and the method demands more.
  assert.equal((await unary(bare, 'put', await bearer('t0'))).answer.text, 'here')
  assert.deepEqual(served, [undefined, 'orders'])
  const put = '/conformance.catalog.v1.Catalog/Put'
  assert.deepEqual(denied, [[put.replace('Put', 'Get'), 'CREDENTIALS_MISSING'], [put, 'SCOPE_INSUFFICIENT']])
})

test('the server marks its refusals, and the client keeps the marks', async (t) => {
  const { client, bare, revocations } = await world(t)
  revocations.revokeToken('t0')
  const token = await bearer('t0')
  const mark = ['before-handler /conformance.catalog.v1.Catalog/Get']
  assert.deepEqual((await unary(bare, 'get', token)).error.metadata.get('token-refused'), mark)
  // The program's own header is sent as it is, and the program gets no mark.
  const { error } = await unary(client, 'get', token)
  assert.equal(error.details, 'the token was revoked')
  assert.equal(error.metadata.get('www-authenticate').length, 1)
  assert.deepEqual(error.metadata.get('token-refused'), [])
  assert.deepEqual((await ended(client.watch({}, token))).metadata.get('token-refused'), [])
  assert.deepEqual((await upload(client, ['one'], { metadata: token })).error.metadata.get('token-refused'), [])
})

test('the client keeps the marks of any server', async (t) => {
  const marked = new grpc.Metadata()
  marked.set('token-refused', 'before-handler /conformance.catalog.v1.Catalog/Get')
  marked.set('other', 'kept')
  const server = new grpc.Server()
  server.addService(Catalog.service, {
    Get: (_, done) => done(null, { text: 'here' }, marked),
    Watch: (call) => {
      call.write({ text: 'first' })
      call.emit('error', { code: grpc.status.ABORTED, details: 'over', metadata: marked })
    },
  })
  const port = await new Promise((resolve, reject) =>
    server.bindAsync('localhost:0', grpc.ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    ),
  )
  const source = { fetch: async () => new IssuedToken(await sign(60, 't1'), 60_000) }
  const tokens = new ClientTokens({ source, policy })
  const client = new Catalog(...tokens.to(`localhost:${port}`, grpc.credentials.createInsecure()))
  t.after(() => {
    client.close()
    tokens.close()
    server.forceShutdown()
  })
  const { answer, trailers } = await unary(client, 'get')
  assert.deepEqual([answer.text, trailers.getMap()], ['here', { other: 'kept' }])
  const { code, metadata } = await ended(client.watch({}))
  assert.equal(code, grpc.status.ABORTED)
  assert.deepEqual([metadata.get('other'), metadata.get('token-refused')], [['kept'], []])
})

test('a server without the policy of a method does not start', async () => {
  const server = new TokenServer({ issuers: [TrustedIssuer.fixed(ISSUER, keys)], policy })
  server.addService({ Get: { ...Catalog.service.Get, path: '/unknown.Service/Get' } }, { Get: () => {} })
  await assert.rejects(server.listen('localhost:0', grpc.ServerCredentials.createInsecure()), /unknown\.Service/)
})
