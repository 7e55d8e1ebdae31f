// Completes the two builds: says which is which, and adds the .proto files of the contract.

import { cpSync, rmSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const at = (path) => fileURLToPath(new URL(`../${path}`, import.meta.url))

writeFileSync(at('dist/esm/package.json'), '{ "type": "module" }\n')
writeFileSync(at('dist/cjs/package.json'), '{ "type": "commonjs" }\n')
// ES modules have no __dirname.
writeFileSync(
  at('dist/esm/folder.js'),
  "import { fileURLToPath } from 'node:url'\nexport const folder = fileURLToPath(new URL('.', import.meta.url))\n",
)
rmSync(at('proto'), { recursive: true, force: true })
cpSync(at('../../../proto/m2m'), at('proto/m2m'), { recursive: true })
// protobufjs has the other types of google.protobuf inside.
cpSync(at('node_modules/protobufjs/google/protobuf/descriptor.proto'), at('proto/google/protobuf/descriptor.proto'))
