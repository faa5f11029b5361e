'use strict'
// A worker as people run one: loops for ever, says what it does. Types from the command line. A job whose input is "wait"
// runs until a line comes from stdin.

const { createHttpLink, checkForJobs, fetch, getNewClient, uri } = require('./client')

const token = process.env.GNJ_NODE_TOKEN
const options = token
  ? { link: createHttpLink({ uri, fetch, headers: { authorization: `Bearer ${token}` } }) }
  : {}
const say = (word) => console.log(JSON.stringify(word))

checkForJobs({
  client: getNewClient(uri, undefined, options),
  typeList: process.argv.slice(2),
  loopTime: 50,
  processingFunction: async (job) => {
    say({ began: job.id })
    if (job.input === 'wait') await new Promise((resolve) => process.stdin.once('data', resolve))
    return { ran: job.id }
  },
}).then(
  () => say({ looks: true }),
  (error) => {
    say({ refused: error.message })
    process.exit(3)
  }
)
