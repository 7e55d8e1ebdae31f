// Introspection, revocation, private_key_jwt and token exchange with openid-client, oauth4webapi and
// simple-oauth2.

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { before, test } from 'node:test'
import { decodeJwt, exportJWK, generateKeyPair } from 'jose'
import * as oauth from 'oauth4webapi'
import * as client from 'openid-client'
import { ClientCredentials } from 'simple-oauth2'
import { env } from './world.js'

const issuer = env('TOKEN_ISSUER')
const id = env('TOKEN_CLIENT_ID')
const secret = env('TOKEN_CLIENT_SECRET')
const audience = 'inventory'
const exchange = 'urn:ietf:params:oauth:grant-type:token-exchange'
const accessToken = 'urn:ietf:params:oauth:token-type:access_token'
const keyed = 'keyed-by-node'
let key
let orders

/** A client that has a key pair and no secret and may exchange tokens, and the example client. */
before(async () => {
  const { privateKey, publicKey } = await generateKeyPair('ES256')
  key = privateKey
  const jwk = join(mkdtempSync(join(tmpdir(), 'key-')), 'public.jwk')
  writeFileSync(jwk, JSON.stringify(await exportJWK(publicKey)))
  const manage = (...words) => execFileSync(env('TOKEN_SERVER'), ['client', ...words])
  const grantTypes = ['client_credentials', exchange].flatMap((name) => ['--grant-type', name])
  manage('create', keyed, '--grant', `${audience}=inventory.read`, '--subject-audience', audience, ...grantTypes)
  manage('add-key', keyed, '--jwk', jwk)
  orders = await client.discovery(new URL(issuer), id, {}, client.ClientSecretBasic(secret))
})

const byKey = () => client.discovery(new URL(issuer), keyed, {}, client.PrivateKeyJwt(key))

test('openid-client: a token is active until it is revoked', async () => {
  const { access_token: token } = await client.clientCredentialsGrant(orders, { audience })
  const active = await client.tokenIntrospection(orders, token)
  assert.equal(active.active, true)
  assert.equal(active.client_id, id)
  assert.equal(active.jti, decodeJwt(token).jti)
  await client.tokenRevocation(orders, token)
  assert.deepEqual(await client.tokenIntrospection(orders, token), { active: false })
})

test('openid-client: a key pair proves a client', async () => {
  const { access_token: token } = await client.clientCredentialsGrant(await byKey(), { audience })
  assert.equal(decodeJwt(token).client_id, keyed)
})

test('openid-client: an exchanged token names its subject and its actor', async () => {
  const { access_token: subject } = await client.clientCredentialsGrant(orders, { audience })
  const parameters = { audience, subject_token: subject, subject_token_type: accessToken }
  const exchanged = await client.genericGrantRequest(await byKey(), exchange, parameters)
  assert.equal(exchanged.issued_token_type, accessToken)
  const claims = decodeJwt(exchanged.access_token)
  assert.equal(claims.sub, id)
  assert.equal(claims.client_id, keyed)
  assert.equal(claims.act.sub, keyed)
})

test('oauth4webapi: reads introspection, revocation and private_key_jwt strictly', async () => {
  const server = orders.serverMetadata()
  const me = { client_id: keyed }
  const proof = oauth.PrivateKeyJwt(key)
  const granted = await oauth.clientCredentialsGrantRequest(server, me, proof, new URLSearchParams({ audience }))
  const { access_token: token } = await oauth.processClientCredentialsResponse(server, me, granted)
  const introspect = async () =>
    oauth.processIntrospectionResponse(server, me, await oauth.introspectionRequest(server, me, proof, token))
  assert.equal((await introspect()).active, true)
  await oauth.processRevocationResponse(await oauth.revocationRequest(server, me, proof, token))
  assert.equal((await introspect()).active, false)
})

test('oauth4webapi: an exchanged token names its subject and its actor', async () => {
  const server = orders.serverMetadata()
  const me = { client_id: keyed }
  const { access_token: subject } = await client.clientCredentialsGrant(orders, { audience })
  const parameters = new URLSearchParams({ audience, subject_token: subject, subject_token_type: accessToken })
  const proof = oauth.PrivateKeyJwt(key)
  const answer = await oauth.genericTokenEndpointRequest(server, me, proof, exchange, parameters)
  const exchanged = await oauth.processGenericTokenEndpointResponse(server, me, answer)
  const claims = decodeJwt(exchanged.access_token)
  assert.deepEqual([claims.sub, claims.client_id, claims.act.sub], [id, keyed, keyed])
})

test('simple-oauth2: revokes its token', async () => {
  const tokens = await new ClientCredentials({
    client: { id, secret },
    auth: { tokenHost: issuer, tokenPath: '/oauth/token', revokePath: '/oauth/revoke' },
    // By default it expects JSON, but RFC 7009 section 2.2 has only a status.
    http: { json: true },
  }).getToken({ audience })
  await tokens.revoke('access_token')
  assert.equal((await client.tokenIntrospection(orders, tokens.token.access_token)).active, false)
})
