'use strict'
// Creating, listing, holding, and the errors that clients match (jobs contract, sections 5 to 11).

const {
  assert, ask, checkForJobs, createJob, jobNow, listJobHoldTypes, listJobs, newClient, refusal, toggleHoldJobType, update,
} = require('./client')

const client = newClient()

scenario('createJob gives the job with its fields', async () => {
  const job = await createJob(client, { type: 'create', name: 'n', input: { a: [1, 'x', null] } })
  const { id, createdAt, __typename, ...rest } = job
  assert.deepEqual(rest, {
    name: 'n', type: 'create', status: 'queued', isHighFrequency: false,
    isUpdateAlreadyCalledWhileCancelRequested: false, input: { a: [1, 'x', null] }, output: null, startAfter: null,
    batchId: null,
  })
  assert.ok(Number.isInteger(id))
  assert.match(createdAt, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
  assert.equal(__typename, 'job')
})

scenario('createJob without a job is refused by the client', async () => {
  assert.equal(await refusal(createJob(client)), 'Please provide a job to create.')
})

scenario('every field of a job can be given', async () => {
  const startAfter = '2030-01-01T00:00:00.000Z'
  const given = {
    type: 'given', name: 'n', jobUniqueId: 'given:1', input: [1], output: { o: 1 }, processingInfo: { p: 1 },
    workerId: 'w', isHighFrequency: true, priorityLevel: 8, isRecoverable: true, startAfter,
  }
  const job = await jobNow((await createJob(client, given)).id)
  for (const name of Object.keys(given)) assert.deepEqual(job[name], given[name], name)
})

scenario('a text as JSON is read as JSON, and refused where it is none', async () => {
  const job = await createJob(client, { type: 'text', input: '{"a": 1}' })
  assert.deepEqual((await jobNow(job.id)).input, { a: 1 })
  assert.match(
    await refusal(createJob(client, { type: 'text', input: 'plain' })),
    /Expected type "SequelizeJSON"\. Unexpected token/
  )
})

scenario('jobUniqueId is unique, and no key when it is empty', async () => {
  const make = (jobUniqueId) => createJob(client, { type: 'unique', jobUniqueId })
  const first = await make('unique:1')
  assert.equal((await make('unique:1')).id, first.id)
  const many = await Promise.all(Array.from({ length: 20 }, () => make('unique:many')))
  assert.equal(new Set(many.map((job) => job.id)).size, 1)
  assert.notEqual((await make('')).id, (await make('')).id)
})

scenario('listJobs: where, order, limit, offset', async () => {
  for (const n of [1, 2, 3, 4]) {
    await createJob(client, { type: 'list', name: `n${n}`, input: { n }, priorityLevel: n % 2 })
  }
  const names = async (options) => (await listJobs(newClient(), options)).map((job) => job.name)
  const where = { type: 'list' }
  assert.deepEqual(await names({ where }), ['n1', 'n2', 'n3', 'n4'])
  assert.deepEqual(await names({ where, order: 'reverse:id', limit: 2 }), ['n4', 'n3'])
  assert.deepEqual(await names({ where, order: 'priorityLevel, reverse:id', limit: 2, offset: 1 }), ['n2', 'n3'])
  assert.deepEqual(await names({ where: { ...where, name: ['n1', 'n3'] } }), ['n1', 'n3'])
  assert.deepEqual(await names({ where: { ...where, name: { like: 'n%', ne: 'n2' }, 'input.n': { gte: 2 } } }), ['n3', 'n4'])
  assert.deepEqual(await names({ where: { ...where, or: [{ name: 'n1' }, { name: 'n4' }] } }), ['n1', 'n4'])
  assert.deepEqual(await names({ where: { ...where, batchId: null }, limit: 1 }), ['n1'])
  const [job] = await listJobs(newClient(), { where, limit: 1 })
  assert.deepEqual(Object.keys(job).sort(), ['__typename', 'id', 'input', 'name', 'output', 'type'])
})

scenario('listJobs on one client gives the same list again, on a new one the new list', async () => {
  const where = { type: 'cached' }
  const mine = newClient()
  assert.equal((await listJobs(mine, { where })).length, 0)
  await createJob(client, { type: 'cached' })
  assert.equal((await listJobs(mine, { where })).length, 0)
  assert.equal((await listJobs(newClient(), { where })).length, 1)
})

scenario('an explicit null is as good as nothing, and limit 0 gives nothing', async () => {
  await createJob(client, { type: 'nulls' })
  const data = await ask(client, `query ($none: String, $where: SequelizeJSON) {
    all: job(where: $where, order: $none, limit: null) { id }
    none: job(where: $where, limit: 0) { id }
    jobCount(where: $where) }`, { none: null, where: { type: 'nulls' } })
  assert.deepEqual([data.all.length, data.none.length, data.jobCount], [1, 0, 1])
})

scenario('aliases and a lone __typename work', async () => {
  const { id } = await createJob(client, { type: 'aliased', name: 'n' })
  const data = await ask(client, 'query ($id: Int) { found: job(id: $id) { a: name b: name } bare: job(id: $id) { __typename } }', { id })
  assert.deepEqual(data.found.map(({ a, b }) => [a, b]), [['n', 'n']])
  assert.equal(data.bare[0].__typename, 'job')
})

scenario('toggleHoldJobType holds and releases, listJobHoldTypes tells', async () => {
  const held = async () => (await listJobHoldTypes(newClient(), { where: { type: 'held' } })).map((hold) => hold.type)
  await createJob(client, { type: 'held' })
  const take = () => checkForJobs({ client, typeList: ['held'], looping: false, processingFunction: () => 1 })
  const hold = await toggleHoldJobType(client, 'held')
  assert.equal(hold.type, 'held')
  assert.deepEqual(await held(), ['held'])
  assert.equal(await take(), null)
  assert.equal(await toggleHoldJobType(client, 'held'), null)
  assert.deepEqual(await held(), [])
  assert.equal((await take()).status, 'successful')
  assert.notEqual((await toggleHoldJobType(client, 'held')).id, hold.id)
  await toggleHoldJobType(client, 'held')
  assert.equal(await refusal(toggleHoldJobType(client)), 'Please provide a type to toggle.')
})

scenario('recover queues the failed job again', async () => {
  const recover = (id) => ask(client, 'mutation ($id: Int!) { recover(id: $id) { id status output } }', { id })
  const { id } = await createJob(client, { type: 'recover', isRecoverable: true })
  assert.equal(await refusal(recover(id)), 'The job must be failed')
  await checkForJobs({ client, typeList: ['recover'], looping: false, processingFunction: () => { throw new Error('x') } })
  assert.equal((await recover(id)).recover.status, 'queued')
  assert.equal(await refusal(recover(10 ** 9)), 'The job does not exist')
  const other = await createJob(client, { type: 'unrecoverable' })
  assert.equal(await refusal(recover(other.id)), 'The job must be recoverable')
})

scenario('retryJob makes a new job', async () => {
  const retry = (id) => ask(client, 'mutation ($id: Int!) { retryJob(id: $id) { id status retryOfJobId input } }', { id })
  const { id } = await createJob(client, { type: 'retry', input: { a: 1 } })
  assert.equal(await refusal(retry(id)), 'The job must be failed or cancelled.')
  await update(client, { id, status: 'failed' }) // with an output of null, which the original cannot retry
  const { retryJob } = await retry(id)
  assert.notEqual(retryJob.id, id)
  assert.deepEqual([retryJob.status, retryJob.retryOfJobId, retryJob.input], ['queued', id, { a: 1 }])
  assert.equal(await refusal(retry(10 ** 9)), 'The job does not exist.')
})

scenario('the manual\'s recoverJob and retryJob by types', async () => {
  const failed = async (type) => {
    const { id } = await createJob(client, { type, isRecoverable: true })
    await update(client, { id, status: 'failed' })
    return id
  }
  const id = await failed('by-type')
  const text = (name) => `mutation ($types: [String!]) { job: ${name}(typeList: $types) { id retryOfJobId status } }`
  assert.equal((await ask(client, text('recoverJob'), { types: ['by-type'] })).job.id, id)
  assert.equal((await ask(client, text('recoverJob'), { types: ['by-type'] })).job, null)
  const again = await failed('by-type-2')
  assert.equal((await ask(client, text('retryJob'), { types: ['by-type-2'] })).job.retryOfJobId, again)
})

scenario('cancelling a waiting job ends it at once', async () => {
  const { id } = await createJob(client, { type: 'cancelled' })
  await update(client, { id, status: 'cancel-requested' })
  const job = await jobNow(id)
  assert.equal(job.status, 'cancelled')
  assert.ok(job.endedAt && job.cancelledAt)
})

scenario('an ended job stays as it ended', async () => {
  const { id } = await createJob(client, { type: 'ended' })
  await update(client, { id, status: 'successful', output: 1 })
  await refusal(update(client, { id, status: 'processing' }))
  await update(client, { id, name: 'later' })
  const job = await jobNow(id)
  assert.deepEqual([job.status, job.output, job.name], ['successful', 1, 'later'])
})

scenario('the error texts', async () => {
  const create = (job) => ask(client, 'mutation ($job: jobInput!) { jobCreate(job: $job) { id } }', { job })
  const told = async (text, variables) => refusal(ask(client, text, variables))
  assert.equal(await refusal(create({})), 'notNull Violation: job.type cannot be null')
  assert.equal(await refusal(create({ type: 'x', status: null })), 'notNull Violation: job.status cannot be null')
  assert.equal(await refusal(create({ type: 'x', priorityLevel: null })), 'notNull Violation: job.priorityLevel cannot be null')
  assert.equal(await refusal(create({ type: 'x', status: 'nonsense' })), 'Validation error: Validation isIn on status failed')
  assert.equal(
    await refusal(create({ type: 'x', batchId: 10 ** 9 })),
    'insert or update on table "job" violates foreign key constraint "job_batchId_fkey"'
  )
  assert.equal(await refusal(update(client, { id: 10 ** 9, name: 'x' })), `Could not find the job with the id [${10 ** 9}]`)
  assert.equal(
    await told('mutation { batchCreate(batch: { pipelineId: 1000000000 }) { id } }'),
    'insert or update on table "batch" violates foreign key constraint "batch_pipelineId_fkey"'
  )
  for (const name of ['pipeline', 'batch', 'pipelineStep']) {
    assert.equal(await told(`mutation { ${name}Update(${name}: { id: 1000000000 }) { id } }`), `${name} not found.`)
  }
  assert.equal(
    await told('mutation ($typeList: [String!]!) { acquireJob(typeList: $typeList) { id } }'),
    'Variable "$typeList" of required type "[String!]!" was not provided.'
  )
})

scenario('what is no valid document is told as by graphql-js', async () => {
  const { fetch, uri } = require('./client')
  const post = async (query) => {
    const answer = await fetch(uri, {
      method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ operationName: null, query }),
    })
    const { errors } = await answer.json()
    return [answer.status, errors[0].message, errors[0].extensions.code]
  }
  assert.deepEqual(await post('{ job { x } }'), [400, 'Cannot query field "x" on type "job".', 'GRAPHQL_VALIDATION_FAILED'])
  assert.deepEqual(await post('mutation { acquireJob { id } }'), [
    400, 'Field "acquireJob" argument "typeList" of type "[String!]!" is required, but it was not provided.',
    'GRAPHQL_VALIDATION_FAILED',
  ])
  assert.equal((await post('{'))[2], 'GRAPHQL_PARSE_FAILED')
})
