// node tus_upload.mjs ENDPOINT FILE SHA256, in a folder that has tus-js-client; BEARER is a token
import { createReadStream } from 'node:fs'
import { createRequire } from 'node:module'

const { Upload } = createRequire(`${process.cwd()}/`)('tus-js-client')
const [endpoint, file, sha256] = process.argv.slice(2)

new Upload(createReadStream(file), {
  endpoint,
  headers: { Authorization: `Bearer ${process.env.BEARER}` },
  metadata: { sha256 },
  retryDelays: Array(60).fill(50), // ms; a cut line is tried again at once, sixty times
  onError: (error) => {
    console.error(String(error))
    process.exitCode = 1
  },
}).start()
