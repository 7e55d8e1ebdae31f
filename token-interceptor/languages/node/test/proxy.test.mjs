// The proxy that the environment names.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createRequire } from 'node:module'
import { createServer } from 'node:net'
import { test } from 'node:test'

const require = createRequire(import.meta.url)
const { proxyOf, tunnel } = require('../build/src/proxy.js')

const of = (url, environment) => proxyOf(new URL(url), environment)?.href
const HTTPS_PROXY = 'http://proxy.example:3128'

test('the lower-case name comes first, and ALL_PROXY last', () => {
  const ALL_PROXY = 'http://all.example'
  assert.equal(of('https://issuer.example', {}), undefined)
  assert.equal(of('https://issuer.example', { ALL_PROXY }), 'http://all.example/')
  assert.equal(of('https://issuer.example', { ALL_PROXY, HTTPS_PROXY }), 'http://proxy.example:3128/')
  assert.equal(of('https://issuer.example', { HTTPS_PROXY, https_proxy: 'lower.example:1' }), 'http://lower.example:1/')
})

test('this machine is reached directly', () => {
  for (const host of ['localhost', '127.0.0.1', '[::1]']) assert.equal(of(`https://${host}`, { HTTPS_PROXY }), undefined, host)
})

test('a proxy of another kind fails, and nothing goes out directly', () => {
  assert.throws(() => of('https://issuer.example', { HTTPS_PROXY: 'socks5://proxy.example' }), TypeError)
})

test('NO_PROXY has names, ports, addresses and networks', () => {
  for (const [NO_PROXY, url, direct] of [
    ['*', 'https://issuer.example', true],
    ['issuer.example', 'https://issuer.example', true],
    ['issuer.example', 'https://tokens.issuer.example', true],
    ['.issuer.example', 'https://issuer.example', true],
    ['*.issuer.example', 'https://tokens.issuer.example', true],
    ['issuer.example', 'https://noissuer.example', false],
    ['ISSUER.example', 'https://issuer.example', true],
    ['other.example, issuer.example', 'https://issuer.example', true],
    ['issuer.example:8443', 'https://issuer.example:8443', true],
    ['issuer.example:8443', 'https://issuer.example', false],
    ['issuer.example:443', 'https://issuer.example', true],
    ['10.1.2.3', 'https://10.1.2.3', true],
    ['10.0.0.0/8', 'https://10.1.2.3', true],
    ['10.0.0.0/8', 'https://11.1.2.3', false],
    ['10.0.0.0/8', 'https://issuer.example', false],
    ['10.0.0.0/40', 'https://10.1.2.3', false],
    ['[fd00::1]', 'https://[fd00::1]', true],
    ['fd00::/8', 'https://[fd00::1]', true],
    ['1.2.3', 'https://10.1.2.3', false],
  ]) {
    assert.equal(of(url, { HTTPS_PROXY, NO_PROXY }) === undefined, direct, `${NO_PROXY} for ${url}`)
  }
})

test('the certificate of an https proxy is to have its own name, and not that of the issuer', async () => {
  for (const [host, named] of [['localhost', true], ['127.0.0.1', false]]) {
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    const [hello] = await Promise.all([
      once(server, 'connection').then(async ([socket]) => {
        const [first] = await once(socket, 'data')
        socket.destroy()
        return first.toString('latin1')
      }),
      assert.rejects(
        tunnel(new URL(`https://${host}:${server.address().port}`), new URL('https://issuer.example'), AbortSignal.timeout(10_000)),
      ),
    ])
    server.close()
    assert.equal(hello.includes('localhost'), named, host)
    assert.ok(!hello.includes('issuer.example'), host)
  }
})
