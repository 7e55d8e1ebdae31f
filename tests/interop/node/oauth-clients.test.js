// Off-the-shelf Node clients get tokens from the issuer and verify them.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createRemoteJWKSet, errors, exportJWK, generateKeyPair, jwtVerify } from 'jose'
import * as oauth from 'oauth4webapi'
import * as client from 'openid-client'
import { ClientCredentials } from 'simple-oauth2'

const { TOKEN_ISSUER: issuer, TOKEN_CLIENT_ID: id, TOKEN_CLIENT_SECRET: secret } = process.env
const audience = 'inventory'

async function verify(token, jwksUri) {
  const keys = createRemoteJWKSet(new URL(jwksUri))
  return jwtVerify(token, keys, { issuer, audience, typ: 'at+jwt', algorithms: ['ES256'] })
}

for (const algorithm of ['oidc', 'oauth2']) {
  for (const [method, authentication] of [
    ['client_secret_basic', client.ClientSecretBasic],
    ['client_secret_post', client.ClientSecretPost],
  ]) {
    test(`openid-client by ${algorithm} discovery with ${method} gets a token that jose accepts`, async () => {
      const config = await client.discovery(new URL(issuer), id, {}, authentication(secret), { algorithm })
      const tokens = await client.clientCredentialsGrant(config, { audience, scope: 'inventory.read' })
      const { payload } = await verify(tokens.access_token, config.serverMetadata().jwks_uri)
      assert.equal(payload.client_id, id)
      assert.equal(payload.sub, id)
      assert.equal(payload.scope, 'inventory.read')
      assert.ok(tokens.expires_in > 0)
    })
  }
}

test('oauth4webapi reads metadata and token response strictly and accepts them', async () => {
  const url = new URL(issuer)
  const server = await oauth.processDiscoveryResponse(
    url,
    await oauth.discoveryRequest(url, { algorithm: 'oauth2' }),
  )
  const me = { client_id: id }
  const response = await oauth.clientCredentialsGrantRequest(
    server,
    me,
    oauth.ClientSecretBasic(secret),
    new URLSearchParams({ audience }),
  )
  const tokens = await oauth.processClientCredentialsResponse(server, me, response)
  const { protectedHeader } = await verify(tokens.access_token, server.jwks_uri)
  assert.equal(protectedHeader.typ, 'at+jwt')
})

test('simple-oauth2 gets a token that jose accepts', async () => {
  const tokens = await new ClientCredentials({
    client: { id, secret },
    auth: { tokenHost: issuer, tokenPath: '/oauth/token' },
  }).getToken({ audience })
  const { payload } = await verify(tokens.token.access_token, `${issuer}/jwks.json`)
  assert.equal(payload.aud, audience)
})

test('a wrong secret reads invalid_client, and has a challenge for Basic', async () => {
  const wrong = new ClientCredentials({
    client: { id, secret: 'wrong' },
    auth: { tokenHost: issuer, tokenPath: '/oauth/token' },
  })
  await assert.rejects(wrong.getToken({ audience }), ({ output, data }) => {
    assert.equal(output.statusCode, 401)
    assert.equal(data.payload.error, 'invalid_client')
    return true
  })
  for (const authentication of [client.ClientSecretBasic('wrong'), client.ClientSecretPost('wrong')]) {
    const config = await client.discovery(new URL(issuer), id, {}, authentication)
    await assert.rejects(client.clientCredentialsGrant(config, { audience }), ({ status, cause }) => {
      assert.equal(status, 401)
      assert.deepEqual(cause.map(({ scheme }) => scheme), ['basic'])
      return true
    })
  }
})

test('openid-client registers itself, with a secret and with a key, and gets tokens', async () => {
  const { TOKEN_INITIAL_ACCESS_TOKEN: initialAccessToken } = process.env
  const register = (metadata, authentication) =>
    client.dynamicClientRegistration(new URL(issuer), metadata, authentication, { algorithm: 'oauth2', initialAccessToken })
  const bySecret = await register({ client_name: 'a node client', redirect_uris: [], scope: 'inventory.read' })
  const told = bySecret.clientMetadata()
  assert.equal(told.client_name, 'a node client')
  assert.equal(told.token_endpoint_auth_method, 'client_secret_basic')

  const { publicKey, privateKey } = await generateKeyPair('ES256', { extractable: true })
  const jwks = { keys: [{ ...(await exportJWK(publicKey)), kid: 'k1', alg: 'ES256' }] }
  const byKey = await register({ jwks, token_endpoint_auth_method: 'private_key_jwt' }, client.PrivateKeyJwt({ key: privateKey, kid: 'k1' }))
  for (const config of [bySecret, byKey]) {
    const tokens = await client.clientCredentialsGrant(config, { audience })
    const { payload } = await verify(tokens.access_token, config.serverMetadata().jwks_uri)
    assert.equal(payload.client_id, config.clientMetadata().client_id)
  }

  // RFC 7592: the client reads its registration and deletes itself.
  const { registration_client_uri: uri, registration_access_token: token } = told
  const headers = { authorization: `Bearer ${token}` }
  const read = await fetch(uri, { headers })
  assert.equal((await read.json()).client_id, told.client_id)
  assert.equal((await fetch(uri, { method: 'DELETE', headers })).status, 204)
  await assert.rejects(client.clientCredentialsGrant(bySecret, { audience }))
})

test('without an initial access token openid-client registers no client', async () => {
  await assert.rejects(client.dynamicClientRegistration(new URL(issuer), {}, undefined, { algorithm: 'oauth2' }))
})

test('jose refuses a token for another audience', async () => {
  const config = await client.discovery(new URL(issuer), id, {}, client.ClientSecretBasic(secret))
  const tokens = await client.clientCredentialsGrant(config, { audience })
  const keys = createRemoteJWKSet(new URL(config.serverMetadata().jwks_uri))
  await assert.rejects(
    jwtVerify(tokens.access_token, keys, { issuer, audience: 'elsewhere' }),
    errors.JWTClaimValidationFailed,
  )
})
