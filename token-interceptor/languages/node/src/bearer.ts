/** The bearer token of a call: RFC 6750 section 2.1. */

import { Denied } from './errors.js'

/** Returns the one token in the values of the `authorization` metadata. Throws Denied otherwise. */
export function bearer(values: readonly (string | Buffer)[]): string {
  const [first, another] = values
  if (first === undefined) throw new Denied('credentials_missing')
  // A proxy may read the first field and this layer the last. A caller that sends two wants them to disagree.
  if (another !== undefined) throw new Denied('credentials_malformed', 'authorization occurs twice')
  const value = String(first)
  if (!/^bearer(?: |$)/i.test(value)) throw new Denied('credentials_missing')
  const token = value.slice('bearer'.length).replace(/^ +/, '')
  if (!token) throw new Denied('credentials_malformed', 'no token follows Bearer')
  return token
}
