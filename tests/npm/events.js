'use strict'
// Subscriptions through the client's own graphql-ws (jobs contract, section 10; section 0, points 2 and 13).

const { assert, ask, checkForJobs, createJob, getNewClient, gql, newClient, until, update, uri, wsUri } = require('./client')

const listening = getNewClient(uri, wsUri)
const client = newClient()

/** What a subscription tells, once it is known to be under way: `poke` is repeated until the first event has come. */
async function follow(text, poke, variables = {}) {
  const events = []
  const failures = []
  const subscription = listening.subscribe({ query: gql(text), variables }).subscribe({
    next: ({ data }) => events.push(Object.values(data)[0]),
    error: (error) => failures.push(error),
  })
  await until(async () => {
    assert.deepEqual(failures, [])
    await poke()
    return events.length > 0
  })
  return { events, end: () => subscription.unsubscribe() }
}

scenario('jobCreated', async () => {
  const poke = () => createJob(client, { type: 'poke' })
  const { events, end } = await follow('subscription { jobCreated { id type name input status } }', poke)
  const { id } = await createJob(client, { type: 'told', name: 'n', input: { a: 1 } })
  const event = await until(() => events.find((job) => job.id === id))
  assert.deepEqual([event.type, event.name, event.input, event.status], ['told', 'n', { a: 1 }, 'queued'])
  end()
})

scenario('jobUpdated: every change of the job, by whatever path', async () => {
  const { id } = await createJob(client, { type: 'followed' })
  const poke = () => update(client, { id, name: `n${Math.random()}` })
  const text = 'subscription ($id: Int) { jobUpdated(id: $id) { id status output } }'
  const { events, end } = await follow(text, poke, { id })
  await createJob(client, { type: 'not-followed' })
  await checkForJobs({ client, typeList: ['followed'], looping: false, processingFunction: () => ({ done: 1 }) })
  await until(() => events.some((job) => job.status === 'successful'))
  assert.ok(events.some((job) => job.status === 'processing'))
  assert.deepEqual(events.at(-1).output, { done: 1 })
  assert.deepEqual([...new Set(events.map((job) => job.id))], [id])
  end()
})

scenario('jobUpdated without an id: all jobs', async () => {
  const { id } = await createJob(client, { type: 'any' })
  const { events, end } = await follow(
    'subscription { jobUpdated { id name batch { id } } }', () => update(client, { id, name: `n${Math.random()}` }))
  const other = await createJob(client, { type: 'any' })
  await update(client, { id: other.id, name: 'other' })
  const event = await until(() => events.find((job) => job.id === other.id))
  assert.deepEqual([event.name, event.batch], ['other', null])
  end()
})

scenario('jobDeleted', async () => {
  const poke = async () => {
    const { id } = await createJob(client, { type: 'deleted' })
    await ask(client, 'mutation ($id: Int!) { jobDelete(id: $id) { id } }', { id })
  }
  const { events, end } = await follow('subscription { jobDeleted { id type } }', poke)
  assert.ok(events.some((job) => job.type === 'deleted'))
  end()
})

scenario('pinged and ponged', async () => {
  const ping = () => ask(client, 'mutation { ping { success } }')
  const first = await follow('subscription { pinged { success } }', ping)
  assert.equal(first.events[0].success, true)
  first.end()
  const workers = [{ workerId: 'w', workerType: 't', workerStatus: 'AVAILABLE' }]
  const pong = () => ask(client, 'mutation ($w: [workerInfoInput]) { pong(workerInfoInput: $w) { success } }', { w: workers })
  const second = await follow('subscription { ponged { workerId workerType workerStatus } }', pong)
  assert.deepEqual(second.events[0].map(({ __typename, ...told }) => told), workers)
  second.end()
})

scenario('workerMonitoringUpdated', async () => {
  const workers = [{ workerId: 'uuid-1', workerType: 't', workerStatus: 'PROCESSING' }]
  const tell = () => ask(client, `mutation ($w: [workerInfoInput]) {
    workerMonitoringUpdate(workers: $w) { success } }`, { w: workers })
  const { events, end } = await follow('subscription { workerMonitoringUpdated { workerId workerType workerStatus } }', tell)
  assert.deepEqual(events[0].map(({ __typename, ...told }) => told), workers)
  end()
})
