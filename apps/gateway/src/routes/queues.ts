import { batchQueueName } from '@antiphon/shared/jobs/batch-line-job';
import { STAGES, type Stage } from '@antiphon/shared/jobs/job-catalog';
import { type QueueCounts, readQueueCounts } from '@antiphon/shared/queue/queue-counts';
import type { Handler } from 'hono';
import { html } from 'hono/html';
import type { GatewayContext, GatewayEnv } from '../gateway-context.ts';
import { throwUnavailable } from '../streams/stop-streams.ts';

interface QueueObject extends Omit<QueueCounts, 'queueName' | 'added'> {
  name: string;
  stage: Stage;
  /** Of its live workers. */
  workers: number;
  /** Jobs that they can do at once. */
  concurrency: number;
  models: string[];
}

/** `GET /queues`: what waits in each queue and who takes from it; a page for browsers. */
export function queueList(context: GatewayContext): Handler<GatewayEnv> {
  return async (c) => {
    const queues = await readQueues(context).catch(throwUnavailable);
    if (!c.req.header('accept')?.includes('text/html'))
      return c.json({ object: 'list', data: queues });
    c.header('content-security-policy', "default-src 'none'; style-src 'unsafe-inline'");
    return c.html(page(queues));
  };
}

/** Each engine has two: of what people wait for, and of the lines of batches. */
async function readQueues({ depths, directory, queueRedis }: GatewayContext) {
  const known = STAGES.flatMap((stage) => directory.workersOf(stage));
  const lines = known.map(({ stage, engine }) => batchQueueName(stage, engine));
  const counts = (await Promise.all([depths.look(), readQueueCounts(queueRedis, lines)])).flat();
  return known.flatMap(({ stage, engine, queueName, models }): QueueObject[] => {
    const live = directory.liveWorkers(queueName);
    const concurrency = live.reduce((sum, worker) => sum + worker.concurrency, 0);
    return [queueName, batchQueueName(stage, engine)].map((name) => {
      const count = counts.find((one) => one.queueName === name);
      const { waiting = 0, active = 0, failed = 0 } = count ?? {};
      return { name, stage, waiting, active, failed, workers: live.length, concurrency, models };
    });
  });
}

/** Names and models come from workers, not from clients, and are escaped all the same. */
const page = (queues: QueueObject[]) =>
  html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta http-equiv="refresh" content="2" />
        <title>antiphon queues</title>
        <style>
          body {
            font:
              16px system-ui,
              sans-serif;
            margin: 2rem;
            color-scheme: light dark;
          }
          td,
          th {
            padding: 0.3rem 0.8rem;
            text-align: left;
          }
        </style>
      </head>
      <body>
        <h1>Queues</h1>
        <table>
          <tr>
            ${[
              'Queue',
              'Waiting',
              'Active',
              'Failed',
              'Live workers',
              'Jobs at once',
              'Models',
            ].map((title) => html`<th>${title}</th>`)}
          </tr>
          ${queues.map(
            (queue) =>
              html`<tr>
                <td>${queue.name}</td>
                <td>${queue.waiting}</td>
                <td>${queue.active}</td>
                <td>${queue.failed}</td>
                <td>${queue.workers}</td>
                <td>${queue.concurrency}</td>
                <td>${queue.models.join(', ')}</td>
              </tr>`,
          )}
        </table>
      </body>
    </html>`;
