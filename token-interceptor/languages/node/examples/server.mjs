import { readFileSync } from 'node:fs'
import grpc from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import { currentCaller, discover, policyOf, protoFolder, TokenServer } from 'm2m-token'

const { ADDRESS = 'localhost:50051', TOKEN_CA_FILE, TOKEN_ISSUER, TOKEN_TLS_CERTIFICATE, TOKEN_TLS_KEY } = process.env
const includeDirs = ['.', protoFolder()]
const { inventory } = grpc.loadPackageDefinition(loadSync('inventory.proto', { includeDirs }))

const issuers = [discover(TOKEN_ISSUER, { extraRoots: readFileSync(TOKEN_CA_FILE) })]
const server = new TokenServer({ issuers, policy: policyOf('inventory.proto', { includeDirs }) })
server.addService(inventory.v1.InventoryService.service, {
  getItem: ({ request }, done) => done(null, { item: { sku: request.sku, name: `for ${currentCaller().clientId}` } }),
})
const key = { cert_chain: readFileSync(TOKEN_TLS_CERTIFICATE), private_key: readFileSync(TOKEN_TLS_KEY) }
const port = await server.listen(ADDRESS, grpc.ServerCredentials.createSsl(null, [key]))
console.log(`ready on port ${port}`)
