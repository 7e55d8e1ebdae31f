// The first call of a Node client, as the documentation shows it.

import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import grpc from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import { TokenCredentials } from './token-credentials.js'

const protos = fileURLToPath(new URL('../../../proto', import.meta.url))
const examples = fileURLToPath(new URL('../../../token-interceptor/examples/proto', import.meta.url))
const env = process.env

const rootCertificates = readFileSync(env.TOKEN_CA_FILE) // undefined where Node's own roots will do
const tokens = TokenCredentials.connect({
  issuer: env.TOKEN_ISSUER.replace('https://', ''), // host:port
  clientId: env.TOKEN_CLIENT_ID,
  clientSecret: env.TOKEN_CLIENT_SECRET,
  audience: 'inventory',
  rootCertificates,
  protos,
})
const { inventory } = grpc.loadPackageDefinition(loadSync('inventory.proto', { includeDirs: [examples, protos] }))
const client = new inventory.v1.InventoryService(env.INVENTORY, tokens.channelCredentials(rootCertificates))
client.getItem({ sku: 'sp-1' }, (error, answer) => {
  if (error) throw error
  console.log(answer.item.name, 'asked by', answer.askedBy)
  client.close()
})
