// A server of the package that gnj's GraphQL API is modelled on, as its README starts one; PG* variables say on which database.
'use strict'

const jobs = require('@teamstarter/graphql-node-jobs')
const { PubSub } = require('graphql-subscriptions')

const database = {
  dialect: 'postgres',
  host: process.env.PGHOST,
  port: Number(process.env.PGPORT),
  database: process.env.PGDATABASE,
  username: process.env.PGUSER,
  password: process.env.PGPASSWORD,
  logging: false,
}

async function main() {
  await jobs.migrate(await jobs.getModelsAndInitializeDatabase({ dbConfig: database }))
  await jobs.getStandAloneServer(database, {
    pubSubInstance: new PubSub(),
    apolloServerOptions: { csrfPrevention: false },
  })
}

main().catch((error) => {
  console.error(String(error))
  process.exit(1)
})
