// The Rust example application, called from Node through the client layer.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import grpc from '@grpc/grpc-js'
import { call, env, errorDetails, inventory, list, tokens } from './world.js'

const { PERMISSION_DENIED, UNAUTHENTICATED, UNAVAILABLE } = grpc.status
const challenge = (error) => error.metadata.get('www-authenticate').join()

test('a call with a token is allowed', async (t) => {
  const service = inventory(t, env('INVENTORY'), tokens())
  const [item] = await list(service)
  const answer = await call(service, 'getItem', { sku: item.sku })
  assert.deepEqual(answer.item, item)
  assert.equal(answer.askedBy, env('TOKEN_CLIENT_ID'))
})

test('a denied call names the missing scope', async (t) => {
  const service = inventory(t, env('INVENTORY'), tokens())
  await assert.rejects(call(service, 'deleteItem', { sku: 'any' }), (error) => {
    assert.equal(error.code, PERMISSION_DENIED)
    const { reason, metadata } = errorDetails(error)
    assert.equal(reason, 'SCOPE_INSUFFICIENT')
    assert.equal(metadata.scope, 'inventory.write')
    assert.match(challenge(error), /^Bearer .*error="insufficient_scope"/)
    assert.match(challenge(error), /scope="inventory\.write"/)
    return true
  })
})

test('a call without a token is challenged', async (t) => {
  await assert.rejects(call(inventory(t, env('INVENTORY')), 'getItem', {}), (error) => {
    assert.equal(error.code, UNAUTHENTICATED)
    assert.equal(errorDetails(error).reason, 'CREDENTIALS_MISSING')
    assert.match(challenge(error), /^Bearer/)
    assert.doesNotMatch(challenge(error), /error=/)
    return true
  })
})

test('a public method needs no token', async (t) => {
  await call(inventory(t, env('INVENTORY')), 'getOpeningHours', {})
})

test('a server that cannot reach its issuer says when to try again', async (t) => {
  const service = inventory(t, env('INVENTORY_WITHOUT_ISSUER'), tokens())
  await assert.rejects(call(service, 'getItem', {}), (error) => {
    assert.equal(error.code, UNAVAILABLE)
    const { reason, retryMs } = errorDetails(error)
    assert.equal(reason, 'TRUST_UNAVAILABLE')
    assert.ok(retryMs > 0)
    return true
  })
})

test('a wrong secret fails the call as unauthenticated', async (t) => {
  const service = inventory(t, env('INVENTORY'), tokens('wrong'))
  await assert.rejects(call(service, 'getItem', {}), (error) => {
    assert.equal(error.code, UNAUTHENTICATED)
    assert.equal(errorDetails(error).reason, 'CLIENT_AUTHENTICATION_FAILED')
    return true
  })
})
