// The package's own sources of tokens, against the issuer and the Rust example application.

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { before, test } from 'node:test'
import grpc from '@grpc/grpc-js'
import {
  ClientCredentials,
  ClientTokens,
  discover,
  GrpcIssuer,
  HttpIssuer,
  PrivateKeyJwt,
  StaticToken,
  TokenExchange,
  TokenFile,
  TokenRequest,
  TokenServer,
} from 'm2m-token'
import { call, env, errorDetails, inventory, InventoryService, policy, rootCertificates, tokens } from './world.js'

const { FAILED_PRECONDITION, UNAUTHENTICATED, UNIMPLEMENTED } = grpc.status
const exchange = 'urn:ietf:params:oauth:grant-type:token-exchange'
const keyed = 'keyed-by-the-node-layer'
const folder = mkdtempSync(join(tmpdir(), 'sources-'))
const file = join(folder, 'inventory.jwt')
const extraRoots = rootCertificates()
const issuers = {
  grpc: () => new GrpcIssuer(env('TOKEN_ISSUER'), { roots: extraRoots }),
  http: () => HttpIssuer.discover(env('TOKEN_ISSUER'), { extraRoots }),
}
let key

/** A client that has a key and no secret, and may exchange tokens. And a file of the agent. */
before(() => {
  const run = (...words) => execFileSync(env('TOKEN_SERVER'), words, { encoding: 'utf8' })
  const pem = join(folder, 'key.pem')
  const jwk = run('client', 'new-key', '--out', pem)
  writeFileSync(join(folder, 'public.jwk'), jwk)
  const grantTypes = ['client_credentials', exchange].flatMap((name) => ['--grant-type', name])
  run('client', 'create', keyed, '--grant', 'inventory=inventory.read', '--subject-audience', 'inventory', ...grantTypes)
  run('client', 'add-key', keyed, '--jwk', join(folder, 'public.jwk'))
  key = new PrivateKeyJwt(readFileSync(pem, 'utf8'), JSON.parse(jwk).kid, env('TOKEN_ISSUER'))
  run('agent', '--once', '--token', `inventory=${file}`)
})

async function askedBy(t, source) {
  const service = inventory(t, env('INVENTORY'), new ClientTokens({ source, policy }))
  return (await call(service, 'getItem', { sku: 'sp-1' })).askedBy
}

for (const [kind, issuer] of Object.entries(issuers)) {
  test(`a secret and a key prove a client, over ${kind}`, async (t) => {
    const orders = new ClientCredentials(env('TOKEN_CLIENT_ID'), env('TOKEN_CLIENT_SECRET'), issuer())
    assert.equal(await askedBy(t, orders), env('TOKEN_CLIENT_ID'))
    assert.equal(await askedBy(t, new ClientCredentials(keyed, key, issuer())), keyed)
  })

  test(`a server calls on behalf of its caller, over ${kind}`, async (t) => {
    const source = new TokenExchange(keyed, key, issuer())
    const next = inventory(t, env('INVENTORY'), new ClientTokens({ source, policy, onBehalfOfCaller: true }))
    // Otherwise it had the program's own rights.
    await assert.rejects(call(next, 'getItem', { sku: 'sp-1' }), { code: FAILED_PRECONDITION })

    const server = new TokenServer({ issuers: [discover(env('TOKEN_ISSUER'), { extraRoots })], policy })
    server.addService(InventoryService.service, {
      getItem: ({ request }, done) => void call(next, 'getItem', request).then((answer) => done(null, answer), done),
    })
    const identity = { private_key: readFileSync(env('TOKEN_TLS_KEY')), cert_chain: readFileSync(env('TOKEN_TLS_CERTIFICATE')) }
    const port = await server.listen('127.0.0.1:0', grpc.ServerCredentials.createSsl(null, [identity]))
    t.after(() => server.forceShutdown())
    const gateway = inventory(t, `localhost:${port}`, tokens())
    assert.equal((await call(gateway, 'getItem', { sku: 'sp-1' })).askedBy, keyed)
    // The gateway has no handler for it: the layer let it pass.
    await assert.rejects(call(gateway, 'getOpeningHours', {}), { code: UNIMPLEMENTED })
  })
}

test('a file and a configured token are sent', async (t) => {
  assert.equal(await askedBy(t, new TokenFile(file)), env('TOKEN_CLIENT_ID'))
  assert.equal(await askedBy(t, new StaticToken(readFileSync(file, 'utf8').trim())), env('TOKEN_CLIENT_ID'))
})

test("a file without a token is the client's own fault", async (t) => {
  const broken = join(folder, 'broken.jwt')
  writeFileSync(broken, 'no token')
  await assert.rejects(askedBy(t, new TokenFile(broken)), (error) => {
    assert.equal(error.code, UNAUTHENTICATED)
    assert.equal(errorDetails(error).reason, 'CLIENT_AUTHENTICATION_FAILED')
    return true
  })
})

/** A proxy that leads every tunnel to the issuer. */
async function proxy(t) {
  const targets = []
  const server = createServer().on('connect', (request, socket) => {
    targets.push([request.url, request.headers['proxy-authorization']])
    const { hostname, port } = new URL(env('TOKEN_ISSUER'))
    const issuer = connect(Number(port), hostname, () => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n')
      issuer.pipe(socket).pipe(issuer)
    })
    issuer.on('error', () => socket.destroy())
    socket.on('error', () => issuer.destroy())
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => server.close())
  return { targets, url: `http://user:pass%20word@127.0.0.1:${server.address().port}` }
}

test('a request goes through the proxy of the environment, and TLS is end to end', async (t) => {
  const { targets, url } = await proxy(t)
  const environment = { ...process.env }
  t.after(() => {
    process.env = environment
  })
  process.env.HTTPS_PROXY = url
  const fetched = (issuer) =>
    new ClientCredentials('orders', 'secret', HttpIssuer.discover(issuer, { extraRoots })).fetch(new TokenRequest('inventory'))
  // The issuer's certificate is not that of the name: the client has seen it, through the tunnel.
  await assert.rejects(fetched('https://issuer.example'), { reason: 'certificate_invalid' })
  const authorization = `Basic ${Buffer.from('user:pass word').toString('base64')}`
  assert.deepEqual(targets[0], ['issuer.example:443', authorization])

  // This machine is reached directly, and so is an exception.
  const tunnels = targets.length
  await assert.rejects(fetched(env('TOKEN_ISSUER')), { refusal: 'client_authentication' })
  process.env.NO_PROXY = 'issuer.invalid'
  await assert.rejects(fetched('https://tokens.issuer.invalid'), { reason: 'name_not_resolved' })
  assert.equal(targets.length, tunnels)
})
