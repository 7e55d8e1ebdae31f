/**
 * The folder of the built package's modules. The ES modules have a file of their own:
 * `scripts/finish-build.mjs`.
 */
export const folder = __dirname
