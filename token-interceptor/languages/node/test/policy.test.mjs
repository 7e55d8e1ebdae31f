// The policy of .proto files, as protobufjs reads them, is that of the descriptors.

import assert from 'node:assert/strict'
import { mkdtempSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

const require = createRequire(import.meta.url)
const { hasAllowedValue, Policy } = require('../build/src/policy.js')
const { policyOf } = require('../build/src/protos.js')
const { PolicyError } = require('../build/src/errors.js')
const annotations = require('../build/src/gen/m2m/auth/v1/annotations_pb.js')
const { create } = require('@bufbuild/protobuf')
const { file_conformance_catalog_v1_catalog: catalog } = require(
  '../build/conformance/gen/conformance/catalog/v1/catalog_pb.js',
)

const root = fileURLToPath(new URL('../../../..', import.meta.url))
const includeDirs = [`${root}/tests/conformance/proto`, `${root}/proto`, `${root}/token-interceptor/languages/node/node_modules/protobufjs`]
const plain = (demands) => Object.fromEntries([...demands.methods].map(([path, method]) => [path, JSON.parse(JSON.stringify(method))]))

test('protobufjs reads the same policy as the descriptors have', () => {
  const read = policyOf('conformance/catalog/v1/catalog.proto', { includeDirs })
  assert.deepEqual(plain(read.call()), plain(Policy.fromFiles(catalog).call()))
  assert.ok(read.call().methods.size > 10)
})

function policyOfText(body) {
  const folder = mkdtempSync(join(tmpdir(), 'policy-'))
  const file = join(folder, 'one.proto')
  writeFileSync(file, `syntax = "proto3"; package one; import "m2m/auth/v1/annotations.proto"; message M {} ${body}`)
  return policyOf(file, { includeDirs })
}

test('a change of one annotation changes the demand', () => {
  const scopes = ['one.read', 'one.write'].map((scope) => {
    const policy = policyOfText(
      `service S { rpc Get(M) returns (M) { option (m2m.auth.v1.method).require = {all_scopes: "${scope}"}; } }`,
    )
    return policy.serve(['one.S']).of('/one.S/Get').requirement.allScopes
  })
  assert.deepEqual(scopes, [['one.read'], ['one.write']])
})

test('a contradiction, an unknown member and a forgotten method stop the start', () => {
  const both = `option (m2m.auth.v1.method) = { public: true require: {} };`
  const unknown = `option (m2m.auth.v1.method).require = { all_scope: "a" };`
  for (const option of [both, unknown, '', 'option (m2m.auth.v1.method) = {};']) {
    assert.throws(
      () => policyOfText(`service S { rpc Get(M) returns (M) { ${option} } }`).serve(['one.S']),
      PolicyError,
      option,
    )
  }
})

test('an annotation with a leading dot counts too', () => {
  const policy = policyOfText(
    `service S { option (.m2m.auth.v1.service).default_requirement = {all_scopes: "a"};
     rpc Get(M) returns (M) { option (.m2m.auth.v1.method).require = {all_scopes: "b" max_token_age: {seconds: 60}}; } }`,
  )
  const { requirement } = policy.serve(['one.S']).of('/one.S/Get')
  assert.deepEqual([requirement.allScopes, requirement.maxTokenAge], [['b'], 60])
})

test('a claim is one of the values or a list with one', () => {
  const policy = policyOfText(
    `service S { rpc Get(M) returns (M) { option (m2m.auth.v1.method).require = {
      claims: { claim: "tenant" values: "acme" values: "globex" } claims: { claim: "/a~1b/0/~0" values: "x" } }; } }`,
  )
  const [tenant, deep] = policy.serve(['one.S']).of('/one.S/Get').requirement.claims
  for (const [claim, claims, allowed] of [
    [tenant, { tenant: 'globex' }, true],
    [tenant, { tenant: 'initech' }, false],
    [tenant, { tenant: ['initech', 'acme'] }, true],
    [tenant, { tenant: [['acme']] }, false],
    [tenant, { tenant: { acme: 'acme' } }, false],
    [tenant, {}, false],
    [deep, { 'a/b': [{ '~': 'x' }] }, true],
    [deep, { 'a/b': { 0: { '~': 'x' } } }, true],
    [deep, { 'a/b': [] }, false],
    [deep, { '/a~1b/0/~0': 'x' }, false],
  ]) {
    assert.equal(hasAllowedValue(claim, claims), allowed, JSON.stringify([claim, claims]))
  }
})

test('claims and identify that contradict stop the start', () => {
  for (const option of [
    '.require = { claims: { claim: "tenant" } }',
    '.require = { claims: { values: "a" } }',
    '.require = { claims: { claim: "scope" values: "a" } }',
    '.require = { claims: { claim: "/client_id" values: "a" } }',
    '.require = { claims: { claim: "appid" values: "a" } }',
    '.require = { claims: { claim: "/scp/0" values: "a" } }',
    '.require = { claims: { claim: "/a~b" values: "a" } }',
    ' = { identify: true }',
    ' = { identify: true require: {} }',
  ]) {
    const policy = policyOfText(`service S { rpc Get(M) returns (M) { option (m2m.auth.v1.method)${option}; } }`)
    assert.throws(() => policy.serve(['one.S']), PolicyError, option)
  }
  const text = 'service S { rpc Get(M) returns (M) { option (m2m.auth.v1.method) = { public: true identify: true }; } }'
  const { requirement, optional } = policyOfText(text).serve(['one.S']).of('/one.S/Get')
  assert.deepEqual([requirement.allScopes, optional], [[], true])
})

test('a field of a later contract stops the start, and such a method gets no token', () => {
  const later = (message) => Object.assign(message, { $unknown: [{ no: 1_000, wireType: 0, data: new Uint8Array([1]) }] })
  const { ClaimRequirementSchema, MethodAuthorizationSchema, RequirementSchema, ServiceAuthorizationSchema } = annotations
  const claims = [later(create(ClaimRequirementSchema, { claim: 'a', values: ['b'] }))]
  for (const declared of [
    { method: later(create(MethodAuthorizationSchema, { public: true })) },
    { method: create(MethodAuthorizationSchema, { require: later(create(RequirementSchema)) }) },
    { method: create(MethodAuthorizationSchema, { require: create(RequirementSchema, { claims }) }) },
    { service: later(create(ServiceAuthorizationSchema, { defaultRequirement: create(RequirementSchema) })) },
  ]) {
    const policy = Policy.of([['one.S', [{ path: '/one.S/Get', clientStreaming: false, serverStreaming: false, ...declared }]]])
    assert.throws(() => policy.serve(['one.S']), /one\.S.*number 1000/)
    assert.throws(() => policy.serve(['one.S'], ['/one.S/Get']), PolicyError)
    assert.equal(policy.call().methods.has('/one.S/Get'), false)
  }
})
