// The conformance executor, by cases made here.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

const require = createRequire(import.meta.url)
// The executor is CommonJS, so its messages are made by that build of the library.
const { create, fromBinary, setExtension, toBinary } = require('@bufbuild/protobuf')
const { FileDescriptorSetSchema, ServiceOptionsSchema } = require('@bufbuild/protobuf/wkt')
const executorFile = fileURLToPath(new URL('../build/conformance/executor.js', import.meta.url))
const { answer } = require(executorFile)
const pb = require('../build/conformance/gen/m2m/conformance/v1/conformance_pb.js')
const annotations = require('../build/src/gen/m2m/auth/v1/annotations_pb.js')
const { file_conformance_catalog_v1_catalog: catalog } = require(
  '../build/conformance/gen/conformance/catalog/v1/catalog_pb.js',
)

const gallery = JSON.parse(readFileSync(new URL('../../../testdata/forgeries.json', import.meta.url), 'utf8'))
const now = { seconds: 1767225660n, nanos: 0 }
const CATALOG = 'conformance.catalog.v1.Catalog'
const GET = `/${CATALOG}/Get`

function descriptors() {
  const files = new Map()
  const add = (file) => {
    for (const dependency of file.dependencies) add(dependency)
    files.set(file.name, file.proto)
  }
  add(catalog)
  const set = create(FileDescriptorSetSchema, { file: [...files.values()] })
  return fromBinary(FileDescriptorSetSchema, toBinary(FileDescriptorSetSchema, set))
}

/** The catalog, for the audience of the gallery. */
function galleryDescriptors() {
  const set = descriptors()
  for (const service of set.file.flatMap((file) => file.service)) {
    service.options ??= create(ServiceOptionsSchema)
    const before = create(annotations.ServiceAuthorizationSchema, {
      audience: 'inventory',
      ...(service.name === 'Catalog' && { defaultRequirement: { allScopes: ['catalog.read'] } }),
    })
    setExtension(service.options, annotations.service, before)
  }
  return set
}

async function serve(token, fields = {}) {
  const value = create(pb.ServerCaseSchema, {
    descriptors: toBinary(FileDescriptorSetSchema, galleryDescriptors()),
    services: [CATALOG],
    issuers: [{ issuer: gallery.issuer, jwks: Buffer.from(JSON.stringify(gallery.jwks)) }],
    now,
    method: `/${CATALOG}/Touch`,
    authorization: token ? [`Bearer ${token}`] : [],
    ...fields,
  })
  const response = await answer(create(pb.ConformanceRequestSchema, { case: { case: 'server', value } }))
  assert.equal(response.result.case, 'server', String(response.result.value))
  return response.result.value
}

const good = gallery.good[0].token

test('a forgery gets the reason that it names', async (t) => {
  assert.ok(gallery.forgeries.length >= 100)
  for (const forgery of gallery.forgeries) {
    await t.test(forgery.name, async () => {
      const { decision, marks } = await serve(forgery.token)
      assert.equal(decision.case, 'refused')
      assert.equal(decision.value.reason, forgery.reason)
      const renewable = ['TOKEN_INVALID', 'TOKEN_EXPIRED', 'TOKEN_REVOKED', 'TOKEN_KEY_UNKNOWN']
      assert.equal(marks.length, renewable.includes(forgery.reason) ? 1 : 0)
    })
  }
})

test('a good token is allowed without the marks of its handler', async (t) => {
  for (const { name, token } of gallery.good) {
    await t.test(name, async () => {
      const { decision, marks } = await serve(token, { handlerMarks: ['before-handler /a/B'] })
      assert.equal(decision.case, 'allowed')
      assert.ok(decision.value.clientId)
      assert.deepEqual(marks, [])
    })
  }
})

test('a server with a forgotten method does not start', async () => {
  const services = ['conformance.catalog.v1.Forgotten', 'a.Missing']
  const { decision } = await serve(good, { services })
  assert.equal(decision.case, 'startError')
  assert.match(decision.value, /Forgotten\/Get.*a\.Missing/)
})

test('callers of several issuers stop the start', async () => {
  const jwks = Buffer.from('{"keys":[]}')
  const issuers = [{ issuer: gallery.issuer, jwks }, { issuer: 'https://other.example', jwks }]
  const { decision } = await serve(good, { issuers })
  assert.match(decision.value, /Audit/)
})

test('unreachable keys are an outage', async () => {
  for (const keys of [{ unreachable: true }, { jwks: Buffer.from('{') }]) {
    const { value } = (await serve(good, { issuers: [{ issuer: gallery.issuer, ...keys }] })).decision
    assert.deepEqual([value.code, value.reason, value.hasRetryInfo], [14, 'TRUST_UNAVAILABLE', true])
  }
  const empty = { issuer: gallery.issuer, jwks: Buffer.from('{"keys":[]}') }
  assert.equal((await serve(good, { issuers: [empty] })).decision.value.reason, 'TOKEN_KEY_UNKNOWN')
})

test('a scope that is missing is named', async () => {
  const { value } = (await serve(good, { method: `/${CATALOG}/Put` })).decision
  assert.equal(value.metadata.scope, 'catalog.write catalog.admin')
  assert.equal(value.wwwAuthenticate, 'Bearer error="insufficient_scope", scope="catalog.write catalog.admin"')
})

test('public, unknown and observed methods', async () => {
  assert.equal((await serve('', { method: `/${CATALOG}/Ping` })).decision.case, 'allowed')
  assert.equal((await serve(good, { method: '/a.B/C' })).decision.value.reason, 'METHOD_NOT_DECLARED')
  assert.equal((await serve('')).decision.value.wwwAuthenticate, 'Bearer')
  const observed = await serve('', { observe: true })
  assert.equal(observed.decision.case, 'allowed')
  assert.equal(observed.wouldDeny.reason, 'CREDENTIALS_MISSING')
})

test('a revoked token is refused', async () => {
  const { tokenId } = (await serve(good)).decision.value
  const { value } = (await serve(good, { revokedTokenIds: [tokenId] })).decision
  assert.equal(value.reason, 'TOKEN_REVOKED')
})

const seconds = (value) => ({ seconds: BigInt(Math.floor(value)), nanos: Math.round((value % 1) * 1e9) })
const token = (value) => ({
  status: 200,
  body: Buffer.from(JSON.stringify({ access_token: value, token_type: 'Bearer', expires_in: 60 })),
})
const call = (at, method = GET, fields = {}) => ({ at: seconds(at), method, ...fields })

async function run(answers, calls, until, fields = {}) {
  const value = create(pb.ClientCaseSchema, {
    descriptors: toBinary(FileDescriptorSetSchema, descriptors()),
    answers,
    calls,
    until: seconds(until),
    draw: 0.5,
    start: now,
    ...fields,
  })
  const response = await answer(create(pb.ConformanceRequestSchema, { case: { case: 'client', value } }))
  assert.equal(response.result.case, 'client', String(response.result.value))
  return response.result.value
}

const times = ({ requests }) => requests.map(({ at }) => Number(at.seconds) + at.nanos / 1e9)

test('a token is renewed before it expires', async () => {
  const result = await run([token('a'), token('b')], [call(0), call(1), call(50)], 60)
  assert.deepEqual(times(result), [0, 43.5])
  assert.deepEqual(result.calls.map(({ attempts }) => attempts), [['a'], ['a'], ['b']])
  assert.equal(result.requests[0].audience, 'catalog')
  assert.deepEqual(result.requests[0].scopes, ['catalog.read'])
})

test('a public method gets no token', async () => {
  const result = await run([], [call(0, `/${CATALOG}/Ping`), call(0, '/a.B/C')], 1)
  assert.equal(result.requests.length, 0)
  assert.deepEqual(result.calls.map(({ attempts }) => attempts), [[''], ['']])
})

test('calls share one failure and the pause after it', async () => {
  const result = await run([{ connectionFailed: true }, token('a')], [call(0), call(0), call(0.02), call(1)], 2)
  assert.deepEqual(result.calls.slice(0, 3).map(({ code, reason }) => [code, reason]), Array(3).fill([14, 'ISSUER_UNAVAILABLE']))
  assert.deepEqual(times(result), [0, 0.05])
  assert.deepEqual(result.calls[3].attempts, ['a'])
})

test('a refusal has its own code', async () => {
  const refused = { status: 401, body: Buffer.from('{"error":"invalid_client"}') }
  const { calls } = await run([refused], [call(0)], 2)
  assert.deepEqual([calls[0].code, calls[0].reason], [16, 'CLIENT_AUTHENTICATION_FAILED'])
})

test('a stalled issuer ends the wait by deadline or patience', async () => {
  const { calls } = await run([], [call(0, GET, { deadline: seconds(1) }), call(0)], 20)
  assert.deepEqual(calls.map(({ code, at }) => [code, Number(at.seconds)]), [[4, 1], [14, 10]])
})

test('a marked refusal is replayed once', async () => {
  const refusal = { code: 16, reason: 'TOKEN_REVOKED', marks: [`before-handler ${GET}`] }
  const marked = await run([token('a'), token('b')], [call(0, GET, { answers: [refusal] })], 1)
  assert.deepEqual([marked.calls[0].attempts, marked.calls[0].code], [['a', 'b'], 0])
  const unmarked = await run([token('a')], [call(0, GET, { answers: [{ ...refusal, marks: [] }] })], 1)
  assert.deepEqual([unmarked.calls[0].attempts, unmarked.calls[0].code], [['a'], 16])
})

test('the wall clock ends a token too', async () => {
  const jumps = [{ at: seconds(1), by: seconds(100) }]
  const { calls } = await run([token('a'), token('b')], [call(0), call(2)], 3, { jumps })
  assert.deepEqual(calls[1].attempts, ['b'])
})

test('a pending call is reported', async () => {
  const { calls } = await run([], [call(0)], 1)
  assert.equal(calls[0].code, -1)
})

test('the process speaks length-prefixed messages', () => {
  const value = create(pb.ServerCaseSchema, { services: [CATALOG], method: GET, now, issuers: [{ issuer: 'a' }] })
  const request = toBinary(pb.ConformanceRequestSchema, create(pb.ConformanceRequestSchema, { case: { case: 'server', value } }))
  const length = Buffer.alloc(4)
  length.writeUInt32LE(request.length)
  const input = Buffer.concat([length, request, length, request])
  const { stdout, status } = spawnSync(process.execPath, [executorFile], { input })
  assert.equal(status, 0)
  const end = 4 + stdout.readUInt32LE()
  assert.equal(stdout.length, 2 * end)
  const response = fromBinary(pb.ConformanceResponseSchema, stdout.subarray(4, end))
  assert.match(response.result.value.decision.value, /no descriptor describes it/)
})
