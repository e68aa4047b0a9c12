// BullMQ's own client, as anybody uses it: `node client.js <verb> <redis url> <queue> [words]`.
import { Queue, QueueEvents, Worker } from 'bullmq';

const [verb, url, name, ...words] = process.argv.slice(2);
const connection = { url, maxRetriesPerRequest: null };

const verbs = {
  // Prints the jobs that wait or are done: one JSON object a line.
  async see() {
    const queue = new Queue(name, { connection });
    for (const job of await queue.getJobs(['waiting', 'active', 'completed', 'failed'])) {
      const { id, data, returnvalue } = job;
      console.log(JSON.stringify({ id, name: job.name, data, returnvalue, state: await job.getState() }));
    }
    await queue.close();
  },

  // Adds a job of that name and data, and prints what it returned.
  async add([job, data]) {
    const queue = new Queue(name, { connection });
    const events = new QueueEvents(name, { connection });
    await events.waitUntilReady();
    const added = await queue.add(job, JSON.parse(data));
    console.log(JSON.stringify(await added.waitUntilFinished(events)));
    await events.close();
    await queue.close();
  },

  // Works jobs until so many have succeeded; the first try of each fails.
  async work([count]) {
    let left = Number(count);
    const done = new Promise((resolve) => {
      const worker = new Worker(
        name,
        async (job) => {
          console.log(JSON.stringify({ payload: job.data.payload, attempt: job.data.attempt }));
          if (job.data.attempt === 1) throw new Error('the van is full');
        },
        { connection },
      );
      worker.on('completed', async () => {
        left -= 1;
        if (left === 0) resolve(worker.close());
      });
    });
    await done;
  },
};

await verbs[verb](words);
process.exit(0);
