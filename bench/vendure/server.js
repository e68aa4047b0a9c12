// A shop on Vendure, as its own starter sets one up and as its documentation
// wants it in production: a server and a worker, each a process, on PostgreSQL,
// with the jobs in Redis (BullMQ). Without REDIS_URL it is the small one: one
// process on SQLite, with the jobs in the database.
//
//   node server.js prepare   makes the tables, fills the shop, writes into FILLED what it holds
//   node server.js serve     the server
//   node server.js work      the worker
import { createHash } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import {
  bootstrap, bootstrapWorker, DefaultJobQueuePlugin, DefaultLogger, DefaultSchedulerPlugin, DefaultSearchPlugin,
  dummyPaymentHandler, JobQueueService, LogLevel,
} from '@vendure/core'
import { populate } from '@vendure/core/cli/populate.js'
import { BullMQJobQueuePlugin } from '@vendure/job-queue-plugin/package/bullmq/index.js'

const { DATABASE_URL, REDIS_URL } = process.env
const port = Number(process.env.PORT ?? 3000)
const filled = process.env.FILLED ?? 'filled.json'
const does = process.argv[2]

// Passwords are hashed quickly, as Carmel's are: only while filling.
const quickly = {
  hash: async password => createHash('sha256').update(password).digest('hex'),
  check: async (password, hash) => createHash('sha256').update(password).digest('hex') === hash,
}

const config = {
  apiOptions: { hostname: '127.0.0.1', port },
  authOptions: {
    tokenMethod: ['bearer', 'cookie'],
    requireVerification: false,
    superadminCredentials: { identifier: 'admin', password: 'the password of this shop' },
    cookieOptions: { secret: 'a secret of this shop' },
    passwordHashingStrategy: quickly,
  },
  dbConnectionOptions: {
    ...(DATABASE_URL
      ? { type: 'postgres', url: DATABASE_URL, poolSize: 20 }
      : { type: 'better-sqlite3', database: process.env.DATABASE ?? 'shop.sqlite', enableWAL: true }),
    synchronize: does === 'prepare',
    logging: false,
  },
  logger: new DefaultLogger({ level: LogLevel.Error }),
  paymentOptions: { paymentMethodHandlers: [dummyPaymentHandler] },
  plugins: [
    DefaultSchedulerPlugin.init(),
    REDIS_URL
      ? BullMQJobQueuePlugin.init({ connection: { port: Number(new URL(REDIS_URL).port), maxRetriesPerRequest: null } })
      : DefaultJobQueuePlugin.init({ useDatabaseForBuffer: true, pollInterval: does === 'prepare' ? 5 : 200 }),
    DefaultSearchPlugin.init({ bufferUpdates: false, indexStockStatus: true }),
  ],
}

async function prepare() {
  const products = Number(process.env.PRODUCTS ?? 1000)
  const csv = `${filled}.csv`
  await writeFile(csv, table(products))
  const app = await populate(() => bootstrap(config), initialData, csv)
  await app.get(JobQueueService).start()

  // Each product that is imported is a job that puts it into the search index.
  for (;;) {
    const { data } = await ask('{ search(input: { take: 1, groupByProduct: true }) { totalItems } }')
    if (data.search.totalItems === products) break
    await new Promise(done => setTimeout(done, 200))
  }

  const variants = []
  while (variants.length < products) {
    const page = `{ products(options: { take: 100, skip: ${variants.length} }) { items { variants { id } } } }`
    const { data } = await ask(page)
    variants.push(...data.products.items.map(product => product.variants[0].id))
  }
  const tokens = []
  for (let n = 0; n < Number(process.env.CUSTOMERS ?? 300); n++) {
    const [email, password] = [`buyer-${n}@example.com`, 'correct horse']
    const who = `emailAddress: "${email}", firstName: "Ann", lastName: "Example", password: "${password}"`
    await ask(`mutation { registerCustomerAccount(input: { ${who} }) { __typename } }`)
    const login = `mutation { login(username: "${email}", password: "${password}") { __typename } }`
    tokens.push((await ask(login)).token)
  }
  const { data } = await ask('{ activeShippingMethods { id } activePaymentMethods { code } }')
  const [shipping, payment] = [data.activeShippingMethods[0].id, data.activePaymentMethods[0].code]
  await writeFile(filled, JSON.stringify({ variants, tokens, shipping, payment }))
  process.exit(0)
}

async function ask(query) {
  const headers = { 'content-type': 'application/json' }
  const answer = await fetch(`http://127.0.0.1:${port}/shop-api`, { method: 'POST', headers, body: JSON.stringify({ query }) })
  const { data, errors } = await answer.json()
  if (errors) throw new Error(`${query}: ${JSON.stringify(errors)}`)
  return { data, token: answer.headers.get('vendure-auth-token') }
}

function table(products) {
  const columns = 'name,slug,description,assets,facets,optionGroups,optionValues,sku,price,taxCategory,stockOnHand,trackInventory,variantAssets,variantFacets'
  const line = n => `bench-${n},bench-${n},,,,,,bench-${n},12.00,standard,10000000,true,,`
  return [columns, ...Array.from({ length: products }, (_, n) => line(n))].join('\n') + '\n'
}

const initialData = {
  defaultLanguage: 'en',
  defaultZone: 'Europe',
  countries: [{ name: 'Germany', code: 'DE', zone: 'Europe' }],
  taxRates: [{ name: 'Standard Tax', percentage: 20 }],
  shippingMethods: [{ name: 'Standard Shipping', price: 500 }],
  paymentMethods: [{
    name: 'Dummy',
    handler: { code: dummyPaymentHandler.code, arguments: [{ name: 'automaticSettle', value: 'true' }] },
  }],
  collections: [],
}

if (does === 'prepare') await prepare()
else if (does === 'work') await (await (await bootstrapWorker(config)).startJobQueue()).startHealthCheckServer({ port })
else {
  const app = await bootstrap(config)
  if (!REDIS_URL) await app.get(JobQueueService).start()
}
