'use strict'
// Runs every scenario on the server at GNJ_URI and prints one line of JSON for each: {"name", "error"}.

const scenarios = []
global.scenario = (name, run) => scenarios.push({ name, run })
for (const path of process.argv.slice(2)) require(path)

// What a client of the original leaves running (a loop has no end) must not fail another scenario.
process.on('unhandledRejection', (error) => console.error('unhandled:', error))

async function main() {
  for (const { name, run } of scenarios) {
    const limit = new Promise((_, refuse) => setTimeout(() => refuse(new Error('took too long')), 30000).unref())
    const error = await Promise.race([run(), limit]).then(
      () => null,
      (error) => String((error && error.stack) || error)
    )
    console.log(JSON.stringify({ name, error }))
  }
  process.exit(0)
}

main()
