// The MCP SDK's own clients find the issuer through an MCP server and get a token for it.

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { auth } from '@modelcontextprotocol/sdk/client/auth.js'
import { ClientCredentialsProvider, PrivateKeyJwtProvider } from '@modelcontextprotocol/sdk/client/auth-extensions.js'
import { createRemoteJWKSet, jwtVerify } from 'jose'
import { env } from './world.js'

const issuer = env('TOKEN_ISSUER')
const administer = (...command) => execFileSync(env('TOKEN_SERVER'), ['client', ...command], { encoding: 'utf8' })

/** The metadata of an MCP server, which name its issuer. RFC 9728. */
async function mcpServer(t) {
  const server = createServer((request, response) => {
    if (!request.url.startsWith('/.well-known/oauth-protected-resource')) return response.writeHead(404).end()
    response.setHeader('content-type', 'application/json')
    response.end(JSON.stringify({ resource, authorization_servers: [issuer] }))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  const resource = `http://127.0.0.1:${server.address().port}/mcp`
  return resource
}

async function authorized(provider, resource) {
  assert.equal(await auth(provider, { serverUrl: resource }), 'AUTHORIZED')
  const keys = createRemoteJWKSet(new URL(`${issuer}/jwks.json`))
  const { payload } = await jwtVerify(provider.tokens().access_token, keys, { issuer, audience: resource, typ: 'at+jwt' })
  assert.equal(payload.scope, 'tools.call')
}

test('the MCP SDK gets a token for an MCP server with a secret', async (t) => {
  const resource = await mcpServer(t)
  const created = administer('create', 'mcp-secret', '--grant', `${resource}=tools.call`, '--json')
  const { client_secret: clientSecret } = JSON.parse(created)
  await authorized(new ClientCredentialsProvider({ clientId: 'mcp-secret', clientSecret, expectedIssuer: issuer }), resource)
})

test('the MCP SDK gets a token for an MCP server with a key', async (t) => {
  const resource = await mcpServer(t)
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  administer('create', 'mcp-key', '--grant', `${resource}=tools.call`)
  const folder = mkdtempSync(join(tmpdir(), 'mcp-'))
  t.after(() => rmSync(folder, { recursive: true }))
  writeFileSync(join(folder, 'key.pem'), publicKey.export({ type: 'spki', format: 'pem' }))
  administer('add-key', 'mcp-key', '--key', join(folder, 'key.pem'))
  const pem = privateKey.export({ type: 'pkcs8', format: 'pem' })
  const provider = new PrivateKeyJwtProvider({
    clientId: 'mcp-key',
    privateKey: pem,
    algorithm: 'ES256',
    expectedIssuer: issuer,
  })
  await authorized(provider, resource)
})
