// The types, as a program of ES modules sees them.
import { ClientCredentials, ClientTokens, discover, GrpcIssuer, policyOf, type TokenServerOptions } from 'm2m-token'
import { file_m2m_auth_v1_annotations } from 'm2m-token/m2m/auth/v1/annotations_pb'

const policy = policyOf('inventory.proto')
export const options: TokenServerOptions = { issuers: [discover('https://issuer.example')], policy }
const source = new ClientCredentials('orders', 'secret', new GrpcIssuer('https://issuer.example'))
export const tokens: ClientTokens = new ClientTokens({ source, policy })
export const file: string = file_m2m_auth_v1_annotations.name
