// Adds so many jobs and works them in one process; prints jobs per second. With a PostgreSQL each job has a row there,
// as a shop does it that wants to know what became of its jobs: inserted before it is added, marked when it is done.
import { randomUUID } from 'node:crypto';
import { Queue, Worker } from 'bullmq';
import pg from 'pg';

const [url, name, jobs, concurrency, together, postgres] = process.argv.slice(2);
const database = postgres && new pg.Pool({ connectionString: postgres, max: 20 });
await database?.query(
  'CREATE TABLE IF NOT EXISTS node_jobs (id UUID PRIMARY KEY, number BIGINT NOT NULL, done BOOLEAN NOT NULL)',
);
const count = Number(jobs);
const connection = { url, maxRetriesPerRequest: null };
const queue = new Queue(name, { connection });
await queue.waitUntilReady();

let done = 0;
let finished;
const all = new Promise((resolve) => (finished = resolve));
const worker = new Worker(
  name,
  async (job) => {
    await database?.query({
      name: 'done',
      text: 'UPDATE node_jobs SET done = TRUE WHERE id = $1',
      values: [job.data.id],
    });
    done += 1;
    if (done === count) finished();
    return { outcome: 'done' };
  },
  { connection, concurrency: Number(concurrency), removeOnComplete: { count: 1000 } },
);
await worker.waitUntilReady();

const began = process.hrtime.bigint();
for (let from = 0; from < count; from += Number(together)) {
  const batch = [];
  for (let number = from; number < Math.min(count, from + Number(together)); number += 1) {
    batch.push({ name: 'bench.nothing', data: database ? { number, id: randomUUID() } : { number } });
  }
  await database?.query({
    name: 'insert',
    text: `INSERT INTO node_jobs SELECT id, number, FALSE
           FROM json_to_recordset($1::json) AS given(id UUID, number BIGINT)`,
    values: [JSON.stringify(batch.map((job) => job.data))],
  });
  await queue.addBulk(batch);
}
await all;
const seconds = Number(process.hrtime.bigint() - began) / 1e9;
await worker.close();
await queue.close();
await database?.end();
console.log(count / seconds);
