// Runs in the browser: gets a token over gRPC-Web, and makes a call with it on the same port.

import { createClient } from '@connectrpc/connect'
import { createGrpcWebTransport } from '@connectrpc/connect-web'
import { ClientService } from './stubs/m2m/admin/v1/client_service_pb.js'
import { TokenService } from './stubs/m2m/token/v1/token_service_pb.js'

const transport = createGrpcWebTransport({ baseUrl: location.origin })

/** Returns the IDs of all clients, or the error. */
globalThis.listClients = async ({ clientId, clientSecret, scopes }) => {
  const audiences = ['m2m.admin.v1']
  const { token } = await createClient(TokenService, transport).issueToken({
    client: { clientId, credential: { case: 'clientSecret', value: clientSecret } },
    audiences,
    scopes,
  })
  return call({ authorization: `Bearer ${token.value}` })
}

globalThis.listClientsWithoutToken = () => call({})

async function call(headers) {
  try {
    const { clients } = await createClient(ClientService, transport).listClients({}, { headers })
    return { clients: clients.map(({ clientId }) => clientId) }
  } catch (error) {
    return { code: error.code, challenge: error.metadata.get('www-authenticate') }
  }
}
