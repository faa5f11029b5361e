'use strict'
// What the scenarios share: the published client, GraphQL in its own Apollo client, and a few words for waiting.

const assert = require('node:assert/strict')
const gnj = require('@teamstarter/graphql-node-jobs')
const { gql, createHttpLink } = require('@apollo/client/core')
const fetch = require('node-fetch')

const uri = process.env.GNJ_URI
const wsUri = uri.replace(/^http/, 'ws')

/** A new Apollo client: each has a cache of its own, and never forgets what it has listed. */
const newClient = () => gnj.getNewClient(uri)

/** One mutation or query, by its text; the data. */
async function ask(client, text, variables = {}) {
  const document = gql(text)
  const { data } = document.definitions[0].operation === 'query'
    ? await client.query({ query: document, variables, fetchPolicy: 'no-cache' })
    : await client.mutate({ mutation: document, variables })
  return data
}

/** The message that a promise is refused with. */
async function refusal(promise) {
  const error = await promise.then(
    (value) => assert.fail(`not refused: ${JSON.stringify(value)}`),
    (error) => error
  )
  return error.message
}

/** Asks again and again, for what nobody rings a bell about. */
async function until(condition, seconds = 15) {
  const end = Date.now() + seconds * 1000
  for (;;) {
    const found = await condition()
    if (found) return found
    assert.ok(Date.now() < end, 'it did not happen')
    await sleep(20)
  }
}

const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds))

/** A job as it is now, with everything the original's type has. */
async function jobNow(id) {
  const { job } = await ask(newClient(), `query ($id: Int) { job(id: $id) {
    id jobUniqueId type name input output processingInfo status retryOfJobId workerId batchId pipelineId priorityLevel
    isUpdateAlreadyCalledWhileCancelRequested isRecoverable isHighFrequency
    startedAt startAfter endedAt cancelledAt createdAt updatedAt deletedAt } }`, { id })
  return job[0]
}

const update = (client, job) =>
  ask(client, 'mutation ($job: jobInput!) { jobUpdate(job: $job) { id status output processingInfo } }', { job })

module.exports = {
  ...gnj, assert, ask, createHttpLink, fetch, gql, jobNow, newClient, refusal, sleep, until, update, uri, wsUri,
}
