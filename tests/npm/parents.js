'use strict'
// Batches and pipelines, through mutations of the client's own Apollo client (jobs contract, section 9).

const { assert, ask, checkForJobs, createJob, jobNow, newClient, refusal } = require('./client')

const client = newClient()
const make = async (name, values) =>
  (await ask(client, `mutation ($it: ${name}Input!) { it: ${name}Create(${name}: $it) { id status } }`, { it: values })).it
const start = (id) => ask(client, 'mutation ($id: Int!) { startPipeline(id: $id) { id status } }', { id })
const run = (type, processingFunction = () => ({ ok: true })) =>
  checkForJobs({ client, typeList: [type], looping: false, processingFunction })
const pipelineNow = async (id) => (await ask(client, `query ($id: Int) { pipeline(id: $id) {
  id status name jobs(order: "id") { name status } batches { status jobs { name status } }
  steps(order: "index") { index status job { name } batch { id } } } }`, { id })).pipeline[0]

async function pipelineOf(type) {
  const { id } = await make('pipeline', { name: type, status: 'planned' })
  const first = await createJob(client, { type, name: 'first', pipelineId: id, status: 'planned' })
  const batch = await make('batch', { pipelineId: id, status: 'planned' })
  for (const name of ['b1', 'b2']) await createJob(client, { type, name, batchId: batch.id, status: 'planned' })
  await createJob(client, { type, name: 'last', pipelineId: id, status: 'planned' })
  return { id, first, batch }
}

scenario('a pipeline runs its steps one after the other', async () => {
  const { id, batch } = await pipelineOf('pipe')
  assert.equal(await run('pipe'), null)
  assert.equal((await start(id)).startPipeline.status, 'processing')
  const order = []
  while (await run('pipe', (job) => { order.push(job.name); return 1 }));
  assert.deepEqual([order[0], order.slice(1, 3).sort(), order[3]], ['first', ['b1', 'b2'], 'last'])
  const pipeline = await pipelineNow(id)
  assert.equal(pipeline.status, 'successful')
  assert.deepEqual(pipeline.steps.map((step) => [step.index, step.status]), [[1, 'done'], [2, 'done'], [3, 'done']])
  assert.deepEqual(pipeline.steps.map((step) => step.job && step.job.name), ['first', null, 'last'])
  assert.equal(pipeline.steps[1].batch.id, batch.id)
  assert.equal(pipeline.batches[0].status, 'successful')
})

scenario('a failed job stops its pipeline', async () => {
  const { id } = await pipelineOf('pipe-fails')
  await start(id)
  await run('pipe-fails', () => { throw new Error('no') })
  assert.equal(await run('pipe-fails'), null)
  const pipeline = await pipelineNow(id)
  assert.equal(pipeline.status, 'failed')
  assert.deepEqual(pipeline.jobs.map((job) => job.status), ['failed', 'planned'])
})

scenario('a cancelled member of a batch fails batch and pipeline', async () => {
  const { id } = await pipelineOf('pipe-cancels')
  await start(id)
  await run('pipe-cancels')
  await run('pipe-cancels')
  const { CancelRequestedError } = require('./client')
  await run('pipe-cancels', () => { throw new CancelRequestedError('no') })
  const pipeline = await pipelineNow(id)
  assert.deepEqual([pipeline.status, pipeline.batches[0].status], ['failed', 'failed'])
})

scenario('a batch without a pipeline', async () => {
  const { id, status } = await make('batch', {})
  assert.equal(status, null)
  for (const name of ['a', 'b']) await createJob(client, { type: 'batch', name, batchId: id, status: 'queued' })
  while (await run('batch'));
  const { batch } = await ask(client, 'query ($id: Int) { batch(id: $id) { status jobs { status } } }', { id })
  assert.equal(batch[0].status, 'successful')
  assert.equal((await jobNow((await ask(client, 'query ($w: SequelizeJSON) { job(where: $w) { id } }', { w: { batchId: id } })).job[0].id)).batchId, id)
})

scenario('the error texts of startPipeline', async () => {
  assert.equal(await refusal(start(10 ** 9)), 'The pipeline does not exist')
  const empty = await make('pipeline', { name: 'empty' })
  assert.equal(await refusal(start(empty.id)), 'No steps related to this pipeline were found')
  const { id } = await pipelineOf('pipe-twice')
  await start(id)
  assert.equal(await refusal(start(id)), 'The pipeline has already been started')
})
