// Subscribes with the client library that is asked for, creates a job when that has begun, and prints every answer.
import { createRequire } from 'node:module'

const [library, host] = process.argv.slice(2)
const require = createRequire(process.env.GNJ_PACKAGES + '/')
const open = { 'graphql-ws': webSocket, 'graphql-sse': events }[library]

function webSocket () {
  const { createClient } = require('graphql-ws')
  const WebSocket = require('ws')
  return createClient({
    url: `ws://${host}/graphql`,
    webSocketImpl: WebSocket,
    lazy: true,
    retryAttempts: 0,
    connectionParams: { authorization: 'Bearer s3cret' }
  })
}

function events () {
  const { createClient } = require('graphql-sse')
  return createClient({
    url: `http://${host}/graphql`,
    singleConnection: false,
    retryAttempts: 0,
    headers: { authorization: 'Bearer s3cret' }
  })
}

const client = open()

function print (what, value) {
  console.log(JSON.stringify({ [what]: value }))
}

async function one (query, variables) {
  for await (const answer of client.iterate({ query, variables })) print('answer', answer)
  print('complete', true)
}

await one('query Count { jobCount }')
await one('mutation { jobCreate(job: {type: "a"}) { id } }')
try {
  await one('{ nothing }')
} catch (error) {
  print('refused', error.length ? error[0].message : String(error))
}

const subscription = client.iterate({
  query: 'subscription ($id: Int) { jobCreated(id: $id) { id type batch { id } } }',
  variables: { id: null }
})
const first = subscription.next()
print('subscribing', true)
// the test creates jobs until one is told
const told = await first
print('answer', told.value)
await subscription.return()
print('returned', true)
await client.dispose()
