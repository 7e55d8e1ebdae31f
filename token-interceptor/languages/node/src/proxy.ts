/**
 * The proxy that the environment names for `https` URLs: `HTTPS_PROXY` or `ALL_PROXY`, and its exceptions in
 * `NO_PROXY`. A lower-case name has precedence. This machine is never reached through a proxy.
 */

import { request as requestPlain } from 'node:http'
import { request as requestSecure } from 'node:https'
import { BlockList, isIP, type Socket } from 'node:net'
import { isLoopback } from './destinations.js'

type Environment = Readonly<Record<string, string | undefined>>

/**
 * Returns the proxy for an `https` URL; undefined for a direct connection. Throws TypeError for a proxy of
 * another kind.
 */
export function proxyOf(url: URL, environment: Environment = process.env): URL | undefined {
  const named = (name: string) => environment[name.toLowerCase()]?.trim() || environment[name]?.trim() || undefined
  const proxy = named('HTTPS_PROXY') ?? named('ALL_PROXY')
  if (!proxy || isLoopback(url.hostname)) return undefined
  const exceptions = (named('NO_PROXY') ?? '').split(/[, ]+/).filter(Boolean)
  if (exceptions.some((exception) => excepts(exception, bare(url.hostname), url.port || '443'))) return undefined
  // A value without a scheme is a host and a port.
  const found = new URL(proxy.includes('://') ? proxy : `http://${proxy}`)
  if (!['http:', 'https:'].includes(found.protocol)) {
    throw new TypeError('the proxy that the environment names is no http or https URL')
  }
  return found
}

/** Opens a tunnel through the proxy: RFC 9110 section 9.3.6. The proxy sees the host, and no request. */
export function tunnel(proxy: URL, target: URL, signal: AbortSignal): Promise<Socket> {
  const path = `${target.hostname}:${target.port || '443'}`
  const headers: Record<string, string> = { host: path }
  if (proxy.username || proxy.password) {
    const pair = `${decodeURIComponent(proxy.username)}:${decodeURIComponent(proxy.password)}`
    headers['proxy-authorization'] = `Basic ${Buffer.from(pair).toString('base64')}`
  }
  const host = bare(proxy.hostname)
  // Without it, Node takes the name for the certificate from the field Host, which is the issuer's.
  const servername = isIP(host) ? '' : host
  const options = { host, servername, port: proxy.port || undefined, method: 'CONNECT', path, headers, signal }
  return new Promise((resolve, reject) => {
    const request = proxy.protocol === 'https:' ? requestSecure(options) : requestPlain(options)
    request.on('error', reject)
    request.on('connect', ({ statusCode = 0 }, socket: Socket) => {
      if (statusCode >= 200 && statusCode < 300) return resolve(socket)
      socket.destroy()
      reject(new Error(`the proxy answers CONNECT with status ${statusCode}`))
    })
    // Without `connect` the proxy refused in another way.
    request.on('response', (response) => {
      response.resume()
      reject(new Error('the proxy has no tunnel'))
    })
    request.end()
  })
}

/**
 * Returns true if the exception names the host: `*`, a name with all names below it, an address, or a
 * network.
 */
function excepts(exception: string, host: string, port: string): boolean {
  if (exception === '*') return true
  const [network = '', bits] = exception.split('/')
  if (bits !== undefined) return isIP(network) === isIP(host) && isIP(host) > 0 && shares(network, bits, host)
  const { 1: name = exception, 2: onPort } = /^(\[.*\]|[^:]*)(?::([0-9]+))?$/.exec(exception) ?? []
  if (onPort !== undefined && onPort !== port) return false
  const domain = bare(name).replace(/^\*?\./, '').toLowerCase()
  return domain !== '' && (host === domain || (isIP(host) === 0 && host.endsWith(`.${domain}`)))
}

function shares(network: string, bits: string, host: string): boolean {
  const length = Number(bits)
  if (!Number.isInteger(length) || length < 0 || length > (isIP(host) === 4 ? 32 : 128)) return false
  const family = isIP(host) === 4 ? 'ipv4' : 'ipv6'
  const list = new BlockList()
  list.addSubnet(network, length, family)
  return list.check(host, family)
}

/** Removes the brackets of an IPv6 address. */
export function bare(host: string): string {
  return host.replace(/^\[|\]$/g, '')
}
