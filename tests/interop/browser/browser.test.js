// A page in headless Chromium calls a protected method over gRPC-Web.

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { build } from 'esbuild'
import { chromium } from 'playwright-core'

const { TOKEN_ISSUER: issuer, TOKEN_ADMIN_CLIENT_ID: clientId, TOKEN_ADMIN_CLIENT_SECRET: clientSecret } = process.env
const UNAUTHENTICATED = 16
const PERMISSION_DENIED = 7
let browser
let page

before(async () => {
  const bundle = await build({ entryPoints: ['page.js'], bundle: true, format: 'iife', write: false })
  const html = `<!doctype html><title>gRPC-Web</title><script>${bundle.outputFiles[0].text}</script>`
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--disable-background-networking'],
  })
  // This machine generated the CA of the issuer's certificate.
  page = await browser.newPage({ ignoreHTTPSErrors: true })
  // The test serves the page from the issuer's origin, as an application would. Every call reaches the
  // issuer.
  await page.route(`${issuer}/page`, (route) => route.fulfill({ body: html, contentType: 'text/html' }))
  await page.goto(`${issuer}/page`)
})

after(() => browser?.close())

test('a page gets a token and with it a protected answer', async () => {
  const { clients } = await page.evaluate((who) => listClients(who), { clientId, clientSecret, scopes: [] })
  assert.ok(clients.includes('orders'), String(clients))
})

test('a page without a token is challenged', async () => {
  const { code, challenge } = await page.evaluate(() => listClientsWithoutToken())
  assert.equal(code, UNAUTHENTICATED)
  assert.match(challenge, /^Bearer/)
})

test('a token without the scope is denied, and the missing one named', async () => {
  const who = { clientId, clientSecret, scopes: ['keys.read'] }
  const { code, challenge } = await page.evaluate((who) => listClients(who), who)
  assert.equal(code, PERMISSION_DENIED)
  assert.match(challenge, /error="insufficient_scope"/)
})
