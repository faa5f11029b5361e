'use strict'
// The audit of graphql-http: how far a server keeps to the GraphQL-over-HTTP specification. A line of JSON for each point.

const { serverAudits } = require('graphql-http')

async function main() {
  for (const audit of serverAudits({ url: process.env.GNJ_URI })) {
    const { status, reason } = await audit.fn()
    console.log(JSON.stringify({ id: audit.id, name: audit.name, status, reason }))
  }
}

main()
