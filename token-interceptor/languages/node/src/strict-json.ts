/**
 * Strict JSON for tokens and key sets: RFC 7515 section 4. No member occurs twice, the depth is bounded,
 * and no text follows.
 *
 * `JSON.parse` keeps the last of two equal members. Where two parsers disagree on which one counts, a token
 * says one thing to a gateway and another to the service behind it.
 */

/** The nesting depth of objects and arrays, at most. */
export const DEPTH_MAX = 8

/** The depth at which the parser itself gives up, to keep the stack. */
const STACK_MAX = 256

/** A value of JSON. Objects have no prototype. */
export type Json = null | boolean | number | string | Json[] | JsonObject
/** An object of JSON, without a prototype. */
export interface JsonObject {
  [name: string]: Json | undefined
}

/** The error of a text that is not JSON in the strict form. The message quotes nothing. */
export class NotStrict extends Error {
  override name = 'NotStrict'
}

/** A number, as it is written. */
export class NumberText {
  constructor(readonly text: string) {}
}

/** The objects in which a member occurs twice. */
const repeated = new WeakSet<object>()

const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y
const WHOLE = /^(?:0|[1-9][0-9]*)$/
const PLAIN = /[^"\\\u0000-\u001f]*/y
const ESCAPES: Record<string, string> = {
  '"': '"',
  '\\': '\\',
  '/': '/',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
}

class Parser {
  #at = 0
  /** The members of the outermost object, in order. */
  outermost: [string, unknown][] = []

  constructor(
    private readonly text: string,
    private readonly numbers: (text: string) => unknown,
  ) {}

  document(): unknown {
    const value = this.value(0)
    this.space()
    if (this.#at < this.text.length) throw new NotStrict('text follows')
    return value
  }

  private value(depth: number): unknown {
    this.space()
    const next = this.text[this.#at]
    if (next === '{' || next === '[') {
      if (depth >= STACK_MAX) throw new NotStrict('nested too deeply')
      return next === '{' ? this.object(depth) : this.array(depth)
    }
    if (next === '"') return this.string()
    for (const [word, value] of [['true', true], ['false', false], ['null', null]] as const) {
      if (this.text.startsWith(word, this.#at)) {
        this.#at += word.length
        return value
      }
    }
    NUMBER.lastIndex = this.#at
    const number = NUMBER.exec(this.text)?.[0]
    if (number === undefined) throw new NotStrict('not JSON')
    this.#at += number.length
    return this.numbers(number)
  }

  private object(depth: number): JsonObject {
    const members = Object.create(null) as Record<string, unknown>
    this.#at++
    if (this.take('}')) return members as JsonObject
    do {
      this.space()
      if (this.text[this.#at] !== '"') throw new NotStrict('not JSON')
      const name = this.string()
      if (!this.take(':')) throw new NotStrict('not JSON')
      const value = this.value(depth + 1)
      if (name in members) repeated.add(members)
      if (depth === 0) this.outermost.push([name, value])
      members[name] = value
    } while (this.take(','))
    if (!this.take('}')) throw new NotStrict('not JSON')
    return members as JsonObject
  }

  private array(depth: number): unknown[] {
    const items: unknown[] = []
    this.#at++
    if (this.take(']')) return items
    do items.push(this.value(depth + 1))
    while (this.take(','))
    if (!this.take(']')) throw new NotStrict('not JSON')
    return items
  }

  private string(): string {
    this.#at++
    let text = ''
    for (;;) {
      PLAIN.lastIndex = this.#at
      const plain = PLAIN.exec(this.text)?.[0] ?? ''
      text += plain
      this.#at += plain.length
      const end = this.text[this.#at++]
      if (end === '"') return text
      if (end !== '\\') throw new NotStrict('not JSON')
      const escape = this.text[this.#at++] ?? ''
      if (escape === 'u') {
        const digits = this.text.slice(this.#at, this.#at + 4)
        if (!/^[0-9a-fA-F]{4}$/.test(digits)) throw new NotStrict('not JSON')
        text += String.fromCharCode(Number.parseInt(digits, 16))
        this.#at += 4
      } else {
        const character = ESCAPES[escape]
        if (character === undefined) throw new NotStrict('not JSON')
        text += character
      }
    }
  }

  private take(character: string): boolean {
    this.space()
    if (this.text[this.#at] !== character) return false
    this.#at++
    return true
  }

  private space(): void {
    while (' \t\n\r'.includes(this.text[this.#at] ?? 'x')) this.#at++
  }
}

function decoded(text: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(text)
  } catch {
    throw new NotStrict('not UTF-8')
  }
}

/** Reads JSON text. `check` applies the strict rules to the whole or to a part of it. */
export function lenient(text: Uint8Array): Json {
  return new Parser(decoded(text), Number).document() as Json
}

/** Reads a JSON object, and returns its members in order, repeated ones too. Numbers are `NumberText`. */
export function entries(text: Uint8Array): [string, unknown][] {
  const parser = new Parser(decoded(text), (number) => new NumberText(number))
  const value = parser.document()
  if (!isObject(value as Json)) throw new NotStrict('not a JSON object')
  return parser.outermost
}

/** Throws NotStrict unless the strict rules hold in the value. */
export function check(value: Json | undefined, depth: number = DEPTH_MAX): void {
  if (typeof value === 'string') checkText(value)
  else if (typeof value === 'number') {
    if (!Number.isFinite(value)) throw new NotStrict('a number out of range')
  } else if (typeof value === 'object' && value !== null) {
    if (depth === 0) throw new NotStrict('nested too deeply')
    if (repeated.has(value)) throw new NotStrict('a member occurs twice')
    for (const [name, item] of Object.entries(value)) {
      if (!Array.isArray(value)) checkText(name)
      check(item, depth - 1)
    }
  }
}

/** An escape can write half of a surrogate pair, which is no character. */
function checkText(text: string): void {
  if (!text.isWellFormed()) throw new NotStrict('half of a surrogate pair')
}

/** Returns true if a member of that object occurs twice. */
export function hasRepeated(value: JsonObject): boolean {
  return repeated.has(value)
}

/** Returns true for an object, and false for an array and for null. */
export function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Returns the members of one strict JSON object. */
export function parseObject(text: Uint8Array): JsonObject {
  const value = lenient(text)
  check(value)
  if (!isObject(value)) throw new NotStrict('not a JSON object')
  return value
}

/**
 * Returns the members of one strict JSON object, and the names of those that are whole, non-negative
 * numbers without fraction and exponent.
 */
export function parseClaims(text: Uint8Array): { members: JsonObject; whole: Set<string> } {
  const source = decoded(text)
  const members = parseObject(text)
  const whole = new Set<string>()
  const parser = new Parser(source, (number) => new NumberText(number))
  parser.document()
  for (const [name, value] of parser.outermost) {
    if (value instanceof NumberText && WHOLE.test(value.text)) whole.add(name)
  }
  return { members, whole }
}
