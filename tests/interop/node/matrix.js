// The Node program of the interop matrix: `matrix.js server`, or `matrix.js client HOST:PORT`.
// tests/interop/matrix/run documents the commands.

import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import grpc from '@grpc/grpc-js'
import { callerOf, TokenServer, watch } from 'm2m-token'
import { env, errorDetails, InventoryService, policy, rootCertificates, tokens } from './world.js'

// An item that is named by the token of the call.
const item = (call) => ({ name: callerOf(call).bearer })

async function serve() {
  const issuer = watch(env('TOKEN_ISSUER'), { roots: rootCertificates() })
  const server = new TokenServer({ issuers: [issuer], policy })
  server.addService(InventoryService.service, {
    getItem: (call, done) => done(null, { item: item(call), askedBy: callerOf(call).clientId }),
    listItems: (call) => {
      const message = { item: item(call) }
      call.write(message)
      const ticks = setInterval(() => call.write(message), 100)
      call.on('cancelled', () => clearInterval(ticks))
    },
    deleteItem: (_, done) => done(null, {}),
    getOpeningHours: (_, done) => done(null, { hours: 'around the clock' }),
  })
  const identity = { private_key: readFileSync(env('TOKEN_TLS_KEY')), cert_chain: readFileSync(env('TOKEN_TLS_CERTIFICATE')) }
  console.log(`port ${await server.listen('127.0.0.1:0', grpc.ServerCredentials.createSsl(null, [identity]))}`)
  process.stdin.resume().on('end', () => process.exit())
}

async function follow(address) {
  const credentials = grpc.credentials.createSsl(rootCertificates())
  const bare = new InventoryService(address, credentials)
  const ours = new InventoryService(...tokens().to(address, credentials))
  const unary = (client, method) =>
    new Promise((resolve, reject) => client[method]({}, (error, answer) => (error ? reject(error) : resolve(answer))))
  let messages
  const commands = {
    bare: async () => (await unary(bare, 'getItem')).askedBy,
    hours: async () => (await unary(ours, 'getOpeningHours')).hours,
    get: async () => {
      const { askedBy, item } = await unary(ours, 'getItem')
      return `${askedBy} ${item.name}`
    },
    delete: async () => (await unary(ours, 'deleteItem'), 'deleted'),
    open: async () => {
      messages = ours.listItems({})[Symbol.asyncIterator]()
      return (await messages.next()).value.item.name
    },
    end: async () => {
      while (!(await messages.next()).done);
      return 'the stream ended'
    },
  }
  for await (const line of createInterface({ input: process.stdin })) {
    const answer = commands[line]().then(
      (text) => `ok ${text}`,
      (error) => `error ${error.code} ${errorDetails(error).reason ?? 'none'}`,
    )
    console.log(await answer)
  }
  process.exit()
}

const [end, address] = process.argv.slice(2)
await (end === 'server' ? serve() : follow(address))
