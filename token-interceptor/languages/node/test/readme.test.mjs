// The examples of the README are those that `run` runs from the built tarball.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'

const read = (name) => readFileSync(new URL(`../${name}`, import.meta.url), 'utf8')

test('the README has the examples', () => {
  for (const name of ['client.mjs', 'server.mjs']) assert.ok(read('README.md').includes(read(`examples/${name}`)), name)
})
