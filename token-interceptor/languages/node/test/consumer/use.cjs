// CommonJS, in the empty project.
const { Policy, TokenServer } = require('m2m-token')
const { method } = require('m2m-token/m2m/auth/v1/annotations_pb')

if (typeof TokenServer !== 'function' || typeof Policy.fromFiles !== 'function' || method.number !== 50880) process.exit(1)
