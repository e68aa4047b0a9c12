// A shop on Medusa as its documentation wants it in production: servers and
// workers apart, with events, workflows, locks and the cache in Redis, and
// without the dashboard, which nobody here looks at.
const { defineConfig } = require('@medusajs/framework/utils')

const { DATABASE_URL: databaseUrl, REDIS_URL: redisUrl, WORKER_MODE: workerMode } = process.env
const anyone = 'http://localhost'

module.exports = defineConfig({
  projectConfig: {
    databaseUrl,
    databaseDriverOptions: { pool: { max: 20 } },
    redisUrl,
    workerMode,
    http: { storeCors: anyone, adminCors: anyone, authCors: anyone, jwtSecret: 'a secret', cookieSecret: 'a secret' },
  },
  admin: { disable: true },
  featureFlags: { caching: true },
  modules: [
    // Passwords are hashed quickly, as Carmel's are: only while filling.
    {
      resolve: '@medusajs/medusa/auth',
      options: {
        providers: [
          { resolve: '@medusajs/medusa/auth-emailpass', id: 'emailpass', options: { hashConfig: { logN: 4, r: 1, p: 1 } } },
        ],
      },
    },
    {
      resolve: '@medusajs/medusa/caching',
      options: {
        providers: [
          { resolve: '@medusajs/medusa/caching-redis', id: 'caching-redis', is_default: true, options: { redisUrl } },
        ],
      },
    },
    { resolve: '@medusajs/medusa/event-bus-redis', options: { redisUrl } },
    { resolve: '@medusajs/medusa/workflow-engine-redis', options: { redis: { redisUrl } } },
    {
      resolve: '@medusajs/medusa/locking',
      options: {
        providers: [
          { resolve: '@medusajs/medusa/locking-redis', id: 'locking-redis', is_default: true, options: { redisUrl } },
        ],
      },
    },
  ],
})
