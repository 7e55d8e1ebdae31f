/**
 * The policy: `/package.Service/Method` → the demand, read from the `m2m.auth.v1` annotations.
 *
 * Paths are compared byte for byte. A path without a policy is denied.
 */

import {
  createFileRegistry,
  type DescFile,
  fromBinary,
  getOption,
  hasOption,
  isMessage,
  type Message,
  toBinary,
} from '@bufbuild/protobuf'
import { FileDescriptorSetSchema, type FileDescriptorSet } from '@bufbuild/protobuf/wkt'
import * as annotations from './gen/m2m/auth/v1/annotations_pb.js'
import { Denied, PolicyError } from './errors.js'
import type { Json, JsonObject } from './strict-json.js'

/** The health methods, open by default: a monitoring probe has no token. Reflection is not open. */
export const HEALTH = ['Check', 'List', 'Watch'].map((method) => `/grpc.health.v1.Health/${method}`)

/** The demands on a verified token; the plain form of `m2m.auth.v1.Requirement`. */
export interface Requirement {
  readonly allScopes: readonly string[]
  readonly anyScopes: readonly string[]
  /** Client IDs, or prefixes and a final `*`. Empty: any client. */
  readonly callers: readonly string[]
  /** In seconds. */
  readonly maxTokenAge?: number
  /** True if an open stream goes on after the token's end. */
  readonly outlivesToken: boolean
  /** Further claims of the token, each of which must have an allowed value. */
  readonly claims: readonly ClaimRequirement[]
}

/** A claim of the token and its allowed values. */
export interface ClaimRequirement {
  /** The name of the claim. If it begins with `/`, a JSON Pointer (RFC 6901) into the claims. */
  readonly claim: string
  /** The claim is one of these strings, or a list that contains one. */
  readonly values: readonly string[]
}

/** One method and its demand. */
export interface Method {
  readonly path: string
  readonly audience: string
  /** Undefined for a public method. */
  readonly requirement?: Requirement
  /** True for a public method with `identify`: a call without a token is anonymous. */
  readonly optional?: boolean
  readonly clientStreaming: boolean
  readonly serverStreaming: boolean
}

/** The annotations of a method, from any source of descriptors. */
export interface Declared {
  path: string
  clientStreaming: boolean
  serverStreaming: boolean
  service?: annotations.ServiceAuthorization
  method?: annotations.MethodAuthorization
}

/** The policy of some services. A service that it does not know is not described. */
export class Policy {
  readonly #services = new Map<string, Declared[]>()

  private constructor() {}

  /** Reads the policy of every service in an encoded `FileDescriptorSet`, imports included. */
  static fromDescriptorSet(set: Uint8Array | FileDescriptorSet): Policy {
    const bytes = set instanceof Uint8Array ? set : toBinary(FileDescriptorSetSchema, set)
    const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, bytes))
    return Policy.fromFiles(...registry.files)
  }

  /**
   * Reads the policy of every service in the files that `protoc-gen-es` generated, such as
   * `file_inventory`.
   */
  static fromFiles(...files: DescFile[]): Policy {
    const policy = new Policy()
    for (const file of files) {
      for (const service of file.services) {
        const ofService = hasOption(service, annotations.service) ? getOption(service, annotations.service) : undefined
        const methods = service.methods.map((method): Declared => {
          const ofMethod = hasOption(method, annotations.method) ? getOption(method, annotations.method) : undefined
          return {
            path: `/${service.typeName}/${method.name}`,
            clientStreaming: method.methodKind === 'client_streaming' || method.methodKind === 'bidi_streaming',
            serverStreaming: method.methodKind === 'server_streaming' || method.methodKind === 'bidi_streaming',
            ...(ofService && { service: ofService }),
            ...(ofMethod && { method: ofMethod }),
          }
        })
        policy.#services.set(service.typeName, methods)
      }
    }
    return policy
  }

  /** Returns the policy of both. */
  and(other: Policy): Policy {
    const both = new Policy()
    for (const [name, methods] of [...this.#services, ...other.#services]) both.#services.set(name, methods)
    return both
  }

  /** Makes a policy of annotations that were read elsewhere. */
  static of(services: Iterable<[string, Declared[]]>): Policy {
    const policy = new Policy()
    for (const [name, methods] of services) policy.#services.set(name, methods)
    return policy
  }

  /**
   * Returns the demands of the served services. Throws PolicyError when a service is not described, or a
   * method has no policy. `open`: the paths of methods that are open to all callers, in spite of their
   * annotations.
   */
  serve(services: Iterable<string>, open: readonly string[] = []): Demands {
    const methods: Method[] = []
    const faults = new Set<string>()
    for (const name of services) {
      const declared = this.#services.get(name)
      if (!declared) faults.add(`${name}: no descriptor describes it`)
      for (const one of declared ?? []) {
        const found = demandOf(name, one, open)
        if (Array.isArray(found)) for (const fault of found) faults.add(fault)
        else if (found) methods.push(found)
      }
    }
    if (faults.size > 0) throw new PolicyError([...faults].sort())
    return new Demands(methods)
  }

  /** Returns the demands of all services, for the client side. Methods without a policy are left out. */
  call(): Demands {
    const methods: Method[] = []
    for (const [name, declared] of this.#services) {
      for (const one of declared) {
        const found = demandOf(name, one, [])
        if (found && !Array.isArray(found)) methods.push(found)
      }
    }
    return new Demands(methods)
  }
}

/** The demands of methods, by their paths. */
export class Demands {
  readonly methods: ReadonlyMap<string, Method>

  constructor(methods: readonly Method[]) {
    const open = HEALTH.map((path) => publicMethod({ path, clientStreaming: false, serverStreaming: false }))
    this.methods = new Map([...open, ...methods].map((method) => [method.path, method]))
  }

  /** Returns the demand of a method. Throws Denied for a path without a policy. */
  of(path: string): Method {
    const method = this.methods.get(path)
    if (!method) throw new Denied('method_not_declared')
    return method
  }

  /** Returns the methods that name callers. */
  namingCallers(): Method[] {
    return [...this.methods.values()].filter((method) => method.requirement && method.requirement.callers.length > 0)
  }
}

function publicMethod({ path, clientStreaming, serverStreaming }: Declared): Method {
  return { path, audience: '', clientStreaming, serverStreaming }
}

/** Returns the demand, or its faults; undefined for a health method without a policy, which is open. */
function demandOf(service: string, declared: Declared, open: readonly string[]): Method | string[] | undefined {
  const { path, clientStreaming, serverStreaming, method } = declared
  const owner = path.slice(1).replace('/', '.')
  const audience = declared.service?.audience || service
  const required = method ? method.require : declared.service?.defaultRequirement
  // Also of a method that the program opens, as in every language.
  const faults = [
    ...unknownIn(service, declared.service),
    ...(method ? contradictionsOf(owner, method) : []),
    ...(required ? faultsOf(owner, required) : []),
  ]
  if (faults.length > 0) return faults
  if (open.includes(path) || (method?.public && !method.identify)) return publicMethod(declared)
  if (method?.identify) {
    return { path, audience, requirement: ANY_TOKEN, optional: true, clientStreaming, serverStreaming }
  }
  if (!required) {
    return HEALTH.includes(path) ? undefined : [`${path}: is served without a policy, so every call is denied`]
  }
  const age = required.maxTokenAge
  const requirement: Requirement = {
    allScopes: required.allScopes,
    anyScopes: required.anyScopes,
    callers: required.callers,
    ...(age && { maxTokenAge: Number(age.seconds) + age.nanos / 1e9 }),
    outlivesToken: required.streamExpiry === annotations.StreamExpiry.ALLOW,
    claims: required.claims.map(({ claim, values }) => ({ claim, values })),
  }
  return { path, audience, requirement, clientStreaming, serverStreaming }
}

const ANY_TOKEN: Requirement = { allScopes: [], anyScopes: [], callers: [], outlivesToken: false, claims: [] }

function contradictionsOf(owner: string, method: annotations.MethodAuthorization): string[] {
  const unknown = unknownIn(owner, method)
  if (unknown.length > 0) return unknown
  if (method.public && method.require) {
    return [`${owner}: is both public and requires a token: declare one of the two`]
  }
  if (method.identify && !method.public) {
    return [`${owner}: identify is for public methods: declare public, and not require`]
  }
  return []
}

/** Returns the fault of an annotation with an unknown field. The field may demand more of a token. */
function unknownIn(owner: string, annotation: Message | undefined): string[] {
  const number = annotation && unknownField(annotation)
  if (number === undefined) return []
  return [`${owner}: the annotation has the field number ${number}, which this version of m2m-token does not know`]
}

/** Returns the number of an unknown field, of the message or of one in it. */
function unknownField(message: Message): number | undefined {
  const [unknown] = message.$unknown ?? []
  if (unknown) return unknown.no
  const values: unknown[] = Object.values(message).flat()
  return values.map((value) => (isMessage(value) ? unknownField(value) : undefined)).find((number) => number !== undefined)
}

function faultsOf(owner: string, required: annotations.Requirement): string[] {
  const { allScopes, anyScopes, callers, claims, maxTokenAge } = required
  const faults: string[] = []
  for (const scope of [...allScopes, ...anyScopes]) {
    // RFC 6749 section 3.3: scope-token.
    if (!/^[\x21\x23-\x5b\x5d-\x7e]+$/.test(scope)) {
      faults.push(`${owner}: ${JSON.stringify(scope)} is not a scope (RFC 6749 section 3.3)`)
    }
  }
  for (const caller of callers) {
    if (!caller || caller.replace(/\*$/, '').includes('*')) {
      faults.push(`${owner}: caller ${JSON.stringify(caller)} must be a client ID, or a prefix and one final "*"`)
    }
  }
  for (const one of claims) {
    const fault = faultOf(one)
    if (fault) faults.push(`${owner}: ${fault}`)
  }
  if (maxTokenAge && (maxTokenAge.seconds < 0n || maxTokenAge.nanos < 0)) {
    faults.push(`${owner}: max_token_age is negative`)
  }
  return faults
}

/** Scopes and clients have fields of their own, which know the limits of each issuer. */
function faultOf({ claim, values }: ClaimRequirement): string | undefined {
  const name = claim.replace(/^\//, '')
  const first = claim.startsWith('/') ? name.split('/', 1)[0] : claim
  const shown = JSON.stringify(claim)
  if (values.length === 0) return `the claim ${shown} has no allowed values, so no token could meet it`
  if (!name) return `${shown} is not the name of a claim`
  if (first === 'scope' || first === 'scp') return `${shown}: use all_scopes or any_scopes`
  if (['client_id', 'azp', 'cid', 'appid'].some((consumed) => consumed === first)) return `${shown}: use callers`
  if (claim.startsWith('/') && /~(?![01])/.test(claim)) {
    return `${shown} is not a JSON Pointer (RFC 6901): write ~ as ~0`
  }
  return undefined
}

/** Returns true if the claim is one of the allowed strings, or a list that contains one. */
export function hasAllowedValue({ claim, values }: ClaimRequirement, claims: JsonObject): boolean {
  const value = claimAt(claims, claim)
  const isOne = (one: unknown): boolean => typeof one === 'string' && values.includes(one)
  return Array.isArray(value) ? value.some(isOne) : isOne(value)
}

/** Objects of tokens have no prototype, so a name finds members alone. */
function claimAt(claims: JsonObject, name: string): Json | undefined {
  if (!name.startsWith('/')) return claims[name]
  let value: Json | undefined = claims
  for (const escaped of name.slice(1).split('/')) {
    const token = escaped.replaceAll('~1', '/').replaceAll('~0', '~')
    if (Array.isArray(value)) value = /^(0|[1-9][0-9]*)$/.test(token) ? value[Number(token)] : undefined
    else if (typeof value === 'object' && value !== null) value = value[token]
    else return undefined
  }
  return value
}

/** Matches a name against another, or against a prefix and one final `*`. */
export function matches(pattern: string, name: string): boolean {
  return pattern.endsWith('*') ? name.startsWith(pattern.slice(0, -1)) : name === pattern
}
