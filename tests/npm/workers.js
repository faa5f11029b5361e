'use strict'
// checkForJobs in all its modes, and updateProcessingInfo (jobs contract, sections 7, 8 and 11).

const {
  assert, CancelRequestedError, checkForJobs, createJob, jobNow, listJobs, newClient, PRIORITY_HIGH, PRIORITY_LOW,
  refusal, sleep, until, update,
} = require('./client')

const client = newClient()
const once = (type, processingFunction, more = {}) =>
  checkForJobs({ client, typeList: [type], looping: false, processingFunction, ...more })

scenario('a sync function: the result is the output', async () => {
  const { id } = await createJob(client, { type: 'sync', name: 'n', input: { a: 1 } })
  let given
  const done = await once('sync', (job, tools) => {
    given = { job, tools: Object.keys(tools) }
    return { got: job.input }
  }, { workerId: 'me', workerType: 'kind' })
  assert.deepEqual(
    { ...given.job, __typename: undefined },
    { id, type: 'sync', name: 'n', input: { a: 1 }, output: null, status: 'processing', __typename: undefined }
  )
  assert.deepEqual(given.tools, ['updateProcessingInfo'])
  const { __typename, ...fields } = done
  assert.deepEqual(fields, {
    id, type: 'sync', name: 'n', input: { a: 1 }, output: { got: { a: 1 } }, status: 'successful', processingInfo: null,
  })
  const job = await jobNow(id)
  assert.equal(job.workerId, 'me')
  assert.ok(job.startedAt <= job.endedAt)
})

scenario('an async function', async () => {
  await createJob(client, { type: 'async' })
  const done = await once('async', async () => {
    await sleep(10)
    return [1, { a: null }]
  })
  assert.deepEqual([done.status, done.output], ['successful', [1, { a: null }]])
})

scenario('no job: null', async () => {
  assert.equal(await once('nobody', () => assert.fail()), null)
})

scenario('an empty typeList is refused by the client', async () => {
  const text = 'Please provide a typeList property in the configuration.'
  assert.equal(await refusal(checkForJobs({ client, typeList: [], processingFunction: () => 1 })), text)
})

scenario('a worker gets a name of its own', async () => {
  await createJob(client, { type: 'named' })
  const args = { client, typeList: ['named'], looping: false, processingFunction: () => 1 }
  const { id } = await checkForJobs(args)
  assert.equal((await jobNow(id)).workerId, args.workerId)
  assert.match(args.workerId, /^[0-9a-f-]{36}$/)
})

scenario('undefined leaves the output alone, null takes it away', async () => {
  for (const [result, output] of [[undefined, { before: 1 }], [null, null]]) {
    await createJob(client, { type: 'undefined', output: { before: 1 } })
    assert.deepEqual((await once('undefined', () => result)).output, output)
  }
})

scenario('a bare string fails the job, JSON in a string is read', async () => {
  await createJob(client, { type: 'bare' })
  const failed = await once('bare', () => 'just words')
  assert.equal(failed.status, 'failed')
  assert.match(failed.output.error, /Expected type "SequelizeJSON"\. Unexpected token/)
  await createJob(client, { type: 'bare' })
  assert.deepEqual((await once('bare', () => '{"a": 1}')).output, { a: 1 })
})

scenario('a throw fails the job', async () => {
  for (const fail of [() => { throw new TypeError('no') }, async () => { throw new TypeError('no') }]) {
    await createJob(client, { type: 'throw' })
    const done = await once('throw', fail)
    assert.equal(done.status, 'failed')
    assert.ok(done.output.error.startsWith('[TypeError: no] Stack: TypeError: no\n    at '), done.output.error)
    assert.ok((await jobNow(done.id)).endedAt)
  }
})

scenario('CancelRequestedError cancels the job', async () => {
  for (const [args, message] of [[['stopped'], 'stopped'], [[], 'No cancel message provided']]) {
    await createJob(client, { type: 'cancel' })
    const done = await once('cancel', () => { throw new CancelRequestedError(...args) })
    assert.deepEqual([done.status, done.output], ['cancelled', { cancelMessage: message }])
    const job = await jobNow(done.id)
    assert.ok(job.cancelledAt && job.endedAt)
  }
})

scenario('updateProcessingInfo: steps are timed, what is not named is dropped', async () => {
  const { id } = await createJob(client, { type: 'steps' })
  const seen = []
  await once('steps', async (job, { updateProcessingInfo }) => {
    const steps = (status) => ({ percent: 50, steps: { a: { status, name: 'A' }, b: { status: 'planned' } } })
    assert.equal(await updateProcessingInfo(steps('processing')), undefined)
    seen.push((await jobNow(id)).processingInfo)
    await sleep(30)
    await updateProcessingInfo({ steps: { a: { status: 'done' } } })
    seen.push((await jobNow(id)).processingInfo)
  })
  assert.deepEqual(seen[0], { percent: 50, steps: { a: { status: 'processing', name: 'A' }, b: { status: 'planned' } } })
  const { a, ...others } = seen[1].steps
  assert.deepEqual([Object.keys(seen[1]), others, a.status, a.name], [['steps'], {}, 'done', 'A'])
  assert.match(a.doneAt, /Z$/)
  assert.ok(a.elapsedTime >= 30 && a.elapsedTime < 10000, `${a.elapsedTime}`)
})

const requestCancel = async (id) => update(newClient(), { id, status: 'cancel-requested' })

scenario('isCancelledOnCancelRequest: the next report stops the function', async () => {
  const { id } = await createJob(client, { type: 'stops' })
  const done = await once('stops', async (job, { updateProcessingInfo }) => {
    await updateProcessingInfo({ percent: 1 })
    await requestCancel(id)
    await updateProcessingInfo({ percent: 2 })
    assert.fail('not stopped')
  }, { isCancelledOnCancelRequest: true })
  assert.deepEqual([done.status, done.output], ['cancelled', { cancelMessage: 'A job cancelation was requested !' }])
})

scenario('a function that ignores a cancellation is told once, then refused', async () => {
  const { id } = await createJob(client, { type: 'ignores' })
  const done = await once('ignores', async (job, { updateProcessingInfo }) => {
    await requestCancel(id)
    await updateProcessingInfo({ percent: 1 })
    assert.equal((await jobNow(id)).isUpdateAlreadyCalledWhileCancelRequested, true)
    await updateProcessingInfo({ percent: 2 })
  })
  assert.equal(done.status, 'failed')
  assert.ok(done.output.error.startsWith(
    '[ApolloError: The job was requested to be cancelled at the previous call. Please check for the status ' +
    '"cancel-requested" after calling updateProcessingInfo in your worker and throw a CancelRequestedError'
  ), done.output.error)
})

scenario('a job that was asked to stop may still succeed', async () => {
  const { id } = await createJob(client, { type: 'succeeds' })
  assert.equal((await once('succeeds', async () => { await requestCancel(id) })).status, 'successful')
})

scenario('nonBlocking: the running job is given at once', async () => {
  const { id } = await createJob(client, { type: 'free' })
  let finish
  const running = await once('free', () => new Promise((resolve) => { finish = resolve }), { nonBlocking: true })
  assert.deepEqual([running.id, running.status], [id, 'processing'])
  finish({ late: true })
  const done = await until(async () => { const job = await jobNow(id); return job.status === 'successful' && job })
  assert.deepEqual(done.output, { late: true })
})

scenario('nonBlocking: a rejection fails the job', async () => {
  const { id } = await createJob(client, { type: 'free-fails' })
  await once('free-fails', async () => { throw new Error('late') }, { nonBlocking: true })
  const done = await until(async () => { const job = await jobNow(id); return job.status === 'failed' && job })
  assert.match(done.output.error, /^\[Error: late\]/)
})

scenario('looping: one job after the other, and those that come later', async () => {
  const ran = []
  let running = 0
  for (let n = 0; n < 5; n++) await createJob(client, { type: 'loop', input: n })
  checkForJobs({
    client, typeList: ['loop'], loopTime: 30,
    processingFunction: async (job) => {
      assert.equal(++running, 1)
      ran.push(job.input)
      await sleep(5)
      running--
      if (job.input === 2) throw new Error('goes on')
      return job.input
    },
  })
  await until(() => ran.length === 5)
  await createJob(client, { type: 'loop', input: 5 })
  await until(() => ran.length === 6)
  assert.deepEqual(ran, [0, 1, 2, 3, 4, 5])
  const statuses = async () => (await listJobs(newClient(), { where: { type: 'loop', status: 'successful' } })).length
  await until(async () => (await statuses()) === 5)
})

scenario('looping and nonBlocking: the whole queue at once', async () => {
  let most = 0
  let running = 0
  for (let n = 0; n < 4; n++) await createJob(client, { type: 'all-at-once' })
  checkForJobs({
    client, typeList: ['all-at-once'], loopTime: 50, nonBlocking: true,
    processingFunction: async () => {
      most = Math.max(most, ++running)
      await until(() => most === 4)
      running--
      return 1
    },
  })
  await until(async () =>
    (await listJobs(newClient(), { where: { type: 'all-at-once', status: 'successful' } })).length === 4)
  assert.equal(most, 4)
})

scenario('two workers never get one job', async () => {
  const ran = []
  for (let n = 0; n < 20; n++) await createJob(client, { type: 'shared', input: n })
  const work = async (workerId) => {
    const mine = { client: newClient(), workerId }
    while (await once('shared', (job) => { ran.push(job.input); return workerId }, mine));
  }
  await Promise.all(['one', 'two', 'three'].map(work))
  assert.deepEqual(ran.sort((a, b) => a - b), Array.from({ length: 20 }, (_, n) => n))
})

scenario('the order of jobs: priority, then age; none before its startAfter', async () => {
  const make = (name, more) => createJob(client, { type: 'ordered', name, ...more })
  await make('future', { startAfter: new Date(Date.now() + 3600 * 1000), priorityLevel: 100 })
  await make('low', { priorityLevel: PRIORITY_LOW })
  await make('first')
  await make('second')
  await make('high', { priorityLevel: PRIORITY_HIGH })
  const order = []
  while (await once('ordered', (job) => { order.push(job.name); return 1 }));
  assert.deepEqual(order, ['high', 'first', 'second', 'low'])
})

scenario('a large payload goes through whole', async () => {
  const input = { text: 'ü'.repeat(500000) }
  await createJob(client, { type: 'large', input })
  const done = await once('large', (job) => job.input)
  assert.deepEqual(done.output, input)
})
