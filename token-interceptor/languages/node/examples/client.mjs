import { readFileSync } from 'node:fs'
import grpc from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import { ClientCredentials, ClientTokens, GrpcIssuer, policyOf, protoFolder } from 'm2m-token'

const { INVENTORY = 'localhost:50051', TOKEN_CA_FILE, TOKEN_CLIENT_ID, TOKEN_CLIENT_SECRET, TOKEN_ISSUER } = process.env
const roots = readFileSync(TOKEN_CA_FILE)
const includeDirs = ['.', protoFolder()]
const { inventory } = grpc.loadPackageDefinition(loadSync('inventory.proto', { includeDirs }))

const source = new ClientCredentials(TOKEN_CLIENT_ID, TOKEN_CLIENT_SECRET, new GrpcIssuer(TOKEN_ISSUER, { roots }))
const tokens = new ClientTokens({ source, policy: policyOf('inventory.proto', { includeDirs }) })
const client = new inventory.v1.InventoryService(...tokens.to(INVENTORY, grpc.credentials.createSsl(roots)))
client.getItem({ sku: 'bolt-m8' }, (error, answer) => {
  console.log(error ? error.message : answer.item.name)
  process.exit(error ? 1 : 0)
})
