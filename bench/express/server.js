// The tutorial's shop: Express, a pool of 20 connections to PostgreSQL, users
// cached for five minutes in Redis, orders finished by a BullMQ worker. Without
// REDIS_URL it reads users from the database and finishes orders in place. With
// PROCESSES it is a cluster, with GZIP its answers are compressed.
import cluster from 'node:cluster'
import compression from 'compression'
import express from 'express'
import pg from 'pg'
import { Redis } from 'ioredis'
import { Queue, Worker } from 'bullmq'

const port = Number(process.env.PORT ?? 3000)
const processes = Number(process.env.PROCESSES ?? 1)
const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 20 })

if (cluster.isPrimary) {
  await prepare()
  if (processes > 1) for (let i = 0; i < processes; i++) cluster.fork()
  else serve()
} else serve()

async function prepare() {
  await pool.query(`CREATE TABLE IF NOT EXISTS users (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name TEXT NOT NULL, email TEXT NOT NULL UNIQUE,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now())`)
  await pool.query(`CREATE TABLE IF NOT EXISTS products (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, sku TEXT NOT NULL UNIQUE, name TEXT NOT NULL,
    price BIGINT NOT NULL)`)
  await pool.query(`CREATE TABLE IF NOT EXISTS orders (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, user_id BIGINT NOT NULL REFERENCES users (id),
    sku TEXT NOT NULL, quantity INT NOT NULL, total BIGINT NOT NULL, status TEXT NOT NULL DEFAULT 'pending',
    created_at TIMESTAMPTZ NOT NULL DEFAULT now())`)
}

function serve() {
  const redis = process.env.REDIS_URL && new Redis(process.env.REDIS_URL, { maxRetriesPerRequest: null })
  // The tutorial's own way with an order: nothing is written before it is in the queue.
  const queued = redis && new Queue('queued', { connection: redis, defaultJobOptions: { removeOnComplete: true } })
  const queue = redis && new Queue('orders', { connection: redis, defaultJobOptions: { removeOnComplete: true } })
  if (redis) {
    // Its own connection: it waits on it.
    new Worker('orders', job => finish(job.data.id), { connection: redis.duplicate(), concurrency: 50 })
    new Worker('queued', job => insert(job.data), { connection: redis.duplicate(), concurrency: 50 })
  }

  const app = express()
  app.disable('x-powered-by')
  if (process.env.GZIP) app.use(compression())
  app.use(express.json())

  app.get('/', async (req, res) => {
    const { rows } = await pool.query('SELECT now()')
    res.json({ message: 'Hello World', time: rows[0].now })
  })

  app.post('/users', async (req, res) => {
    const { name, email } = req.body
    const { rows } = await pool.query('INSERT INTO users (name, email) VALUES ($1, $2) RETURNING *', [name, email])
    res.status(201).json(rows[0])
  })

  app.get('/users/:id', async (req, res) => {
    const key = `user:${req.params.id}`
    const cached = redis && (await redis.get(key))
    if (cached) return res.json(JSON.parse(cached))
    const { rows } = await pool.query({ name: 'user', text: 'SELECT * FROM users WHERE id = $1', values: [req.params.id] })
    if (!rows[0]) return res.status(404).json({ error: 'User not found' })
    if (redis) await redis.set(key, JSON.stringify(rows[0]), 'EX', 300)
    res.json(rows[0])
  })

  app.get('/products', async (req, res) => {
    const query = { name: 'products', text: 'SELECT * FROM products ORDER BY id DESC LIMIT $1', values: [req.query.limit] }
    const { rows } = await pool.query(query)
    res.json({ items: rows })
  })

  app.post('/products', async (req, res) => {
    const { sku, name, price } = req.body
    const values = [sku, name, price]
    const { rows } = await pool.query('INSERT INTO products (sku, name, price) VALUES ($1, $2, $3) RETURNING *', values)
    res.status(201).json(rows[0])
  })

  app.get('/products/:id', async (req, res) => {
    const query = { name: 'product', text: 'SELECT * FROM products WHERE id = $1', values: [req.params.id] }
    const { rows } = await pool.query(query)
    if (!rows[0]) return res.status(404).json({ error: 'Product not found' })
    res.json(rows[0])
  })

  app.post('/orders', async (req, res) => {
    const { userId, sku, quantity } = req.body
    const { rows } = await pool.query({
      name: 'order',
      text: `INSERT INTO orders (user_id, sku, quantity, total)
             SELECT $1, sku, $3::int, price * $3::int FROM products WHERE sku = $2 RETURNING *`,
      values: [userId, sku, quantity],
    })
    if (!rows[0]) return res.status(404).json({ error: 'Product not found' })
    if (queue) await queue.add('finish', { id: rows[0].id })
    else await finish(rows[0].id)
    res.status(202).json(rows[0])
  })

  app.post('/queued-orders', async (req, res) => {
    const { userId, sku, quantity } = req.body
    const job = await queued.add('insert', { userId, sku, quantity })
    res.status(202).json({ job: job.id })
  })

  app.get('/queued-orders', async (req, res) => {
    res.json({ left: await queued.getJobCountByTypes('waiting', 'active') })
  })

  app.get('/orders', async (req, res) => {
    const query = 'SELECT * FROM orders WHERE status = $1 ORDER BY id LIMIT 20'
    const { rows } = await pool.query(query, [req.query.status])
    res.json({ items: rows })
  })

  app.get('/orders/:id', async (req, res) => {
    const { rows } = await pool.query('SELECT * FROM orders WHERE id = $1', [req.params.id])
    if (!rows[0]) return res.status(404).json({ error: 'Order not found' })
    res.json(rows[0])
  })

  const server = app.listen(port, '127.0.0.1')
  server.keepAliveTimeout = 60_000
}

async function insert({ userId, sku, quantity }) {
  const text = "INSERT INTO orders (user_id, sku, quantity, total, status) VALUES ($1, $2, $3, 0, 'confirmed')"
  await pool.query({ name: 'insert', text, values: [userId, sku, quantity] })
}

async function finish(id) {
  await pool.query({ name: 'finish', text: "UPDATE orders SET status = 'confirmed' WHERE id = $1", values: [id] })
}
