// Bull Board over one queue: `node board.js <redis url> <queue>` prints what it shows of it, as the browser gets it.
import { createBullBoard } from '@bull-board/api';
import { BullMQAdapter } from '@bull-board/api/bullMQAdapter';
import { ExpressAdapter } from '@bull-board/express';
import { Queue } from 'bullmq';
import express from 'express';

const [url, name] = process.argv.slice(2);
const serverAdapter = new ExpressAdapter();
const queue = new Queue(name, { connection: { url } });
createBullBoard({ queues: [new BullMQAdapter(queue)], serverAdapter });
const app = express().use(serverAdapter.getRouter());
const server = app.listen(0, '127.0.0.1', async () => {
  const asked = `http://127.0.0.1:${server.address().port}/api/queues?activeQueue=${name}&status=completed&page=1`;
  console.log(await (await fetch(asked)).text());
  process.exit(0);
});
