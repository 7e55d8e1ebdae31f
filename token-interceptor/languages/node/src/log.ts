/** The log of the layers. */

/** Takes a line for the operator. No line ever holds a token or a secret. */
export type Log = (level: 'info' | 'warn', line: string) => void

/** Drops every line. */
export const silent: Log = () => {}
