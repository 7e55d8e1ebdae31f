/**
 * The policy of `.proto` files that `@grpc/proto-loader` loads. Its package definitions drop custom
 * options, so they are read here from the same files, by protobufjs.
 */

import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { create, fromJson, type JsonObject, type JsonValue } from '@bufbuild/protobuf'
import { DurationSchema } from '@bufbuild/protobuf/wkt'
import protobuf from 'protobufjs'
import { PolicyError } from './errors.js'
import { folder } from './folder.js'
import * as annotations from './gen/m2m/auth/v1/annotations_pb.js'
import { type Declared, Policy } from './policy.js'

/** The settings of `policyOf`. */
export interface ProtoOptions {
  /** The folders that the files and their imports are searched in. */
  includeDirs?: readonly string[]
}

/**
 * Reads the policy of the services in `.proto` files. Throws PolicyError for an annotation that cannot be
 * read.
 */
export function policyOf(files: string | readonly string[], { includeDirs = [] }: ProtoOptions = {}): Policy {
  const root = new protobuf.Root()
  const folders = [...includeDirs, protoFolder()]
  root.resolvePath = (_, target) => {
    const found = folders.map((folder) => join(folder, target)).find((path) => existsSync(path))
    // protobufjs has the types of google.protobuf inside.
    return found ?? (existsSync(target) ? target : null)
  }
  root.loadSync([files].flat() as string[], { keepCase: true })
  const services = servicesOf(root).map((service): [string, Declared[]] => {
    const ofService = optionOf(service, 'm2m.auth.v1.service', (json) =>
      fromJson(annotations.ServiceAuthorizationSchema, withRequirement(json, 'default_requirement')),
    )
    const methods = service.methodsArray.map((method): Declared => {
      const ofMethod = optionOf(method, 'm2m.auth.v1.method', methodOf)
      return {
        path: `/${nameOf(service)}/${method.name}`,
        clientStreaming: method.requestStream ?? false,
        serverStreaming: method.responseStream ?? false,
        ...(ofService && { service: ofService }),
        ...(ofMethod && { method: ofMethod }),
      }
    })
    return [nameOf(service), methods]
  })
  return Policy.of(services)
}

/** The folder with `m2m/auth/v1/annotations.proto`, for `includeDirs` of `@grpc/proto-loader`. */
export function protoFolder(): string {
  return join(folder, '../../proto')
}

function methodOf(json: JsonObject): annotations.MethodAuthorization {
  return fromJson(annotations.MethodAuthorizationSchema, withRequirement(json, 'require'))
}

function servicesOf(namespace: protobuf.NamespaceBase): protobuf.Service[] {
  return namespace.nestedArray.flatMap((nested) => {
    if (nested instanceof protobuf.Service) return [nested]
    return nested instanceof protobuf.Namespace ? servicesOf(nested) : []
  })
}

function nameOf({ fullName }: protobuf.ReflectionObject): string {
  return fullName.replace(/^\./, '')
}

/** Returns the annotation of a service or a method. What cannot be read is a fault: it could demand more. */
function optionOf<T>(object: protobuf.ReflectionObject, name: string, read: (json: JsonObject) => T): T | undefined {
  const parsed = (object.parsedOptions ?? []) as Record<string, JsonValue>[]
  const own = parsed.flatMap((option) => Object.entries(option)).filter(([key]) => isNamed(key, name))
  if (own.length === 0) {
    if (Object.keys(object.options ?? {}).some((key) => key.includes(name))) {
      throw new PolicyError([`${nameOf(object)}: its annotation cannot be read`])
    }
    return undefined
  }
  const merged: JsonObject = {}
  for (const [, value] of own) {
    for (const [member, part] of Object.entries(value as JsonObject)) {
      if (member in merged) throw new PolicyError([`${nameOf(object)}: sets ${member} of its annotation twice`])
      merged[member] = part as JsonValue
    }
  }
  try {
    return read(merged)
  } catch {
    throw new PolicyError([`${nameOf(object)}: its annotation cannot be read`])
  }
}

/** A name in an option may be relative to the package, or begin with a dot. */
function isNamed(key: string, name: string): boolean {
  const bare = key.replace(/^\(\.?/, '').replace(/\)$/, '')
  return bare === name || name.endsWith(`.${bare}`)
}

/** Makes a list of a member that stands once. */
function listed(json: JsonObject, member: string): void {
  const value = json[member]
  if (value !== undefined) json[member] = Array.isArray(value) ? value : [value]
}

/** Brings a requirement into the form of ProtoJSON: lists, and a duration as text. */
function withRequirement(json: JsonObject, member: string): JsonObject {
  const requirement = json[member]
  if (typeof requirement !== 'object' || requirement === null || Array.isArray(requirement)) return json
  const { max_token_age: age, ...rest } = requirement
  const whole: JsonObject = { ...rest }
  for (const list of ['all_scopes', 'any_scopes', 'callers', 'claims']) listed(whole, list)
  if (Array.isArray(whole['claims'])) {
    whole['claims'] = whole['claims'].map((claim) => {
      const copy = { ...(claim as JsonObject) }
      listed(copy, 'values')
      return copy
    })
  }
  if (age !== undefined) {
    const { seconds = 0, nanos = 0 } = age as { seconds?: number; nanos?: number }
    // Checks the members' types.
    create(DurationSchema, { seconds: BigInt(seconds), nanos })
    whole['max_token_age'] = `${seconds}${nanos ? `.${String(nanos).padStart(9, '0')}` : ''}s`
  }
  return { ...json, [member]: whole }
}
