import type { QueueCounts } from '@antiphon/shared/queue/queue-counts';
import type { Handler } from 'hono';
import { html } from 'hono/html';
import type { GatewayContext, GatewayEnv } from '../gateway-context.ts';
import { throwUnavailable } from './stop-streams.ts';

const STAGES = ['llm', 'tts', 'stt'] as const;

interface QueueObject extends Omit<QueueCounts, 'queueName' | 'added'> {
  name: string;
  stage: (typeof STAGES)[number];
  /** Of its live workers. */
  workers: number;
  /** Jobs that they can do at once. */
  concurrency: number;
  models: string[];
}

/** `GET /queues`: what waits in each queue and who takes from it; a page for browsers. */
export function queueList({ depths, directory }: GatewayContext): Handler<GatewayEnv> {
  return async (c) => {
    const counts = await depths.look().catch(throwUnavailable);
    const queues = STAGES.flatMap((stage) =>
      directory.workersOf(stage).map(({ queueName, models }): QueueObject => {
        const {
          waiting = 0,
          active = 0,
          failed = 0,
        } = counts.find((count) => count.queueName === queueName) ?? {};
        const live = directory.liveWorkers(queueName);
        const concurrency = live.reduce((sum, worker) => sum + worker.concurrency, 0);
        const workers = live.length;
        return { name: queueName, stage, waiting, active, failed, workers, concurrency, models };
      }),
    );
    if (!c.req.header('accept')?.includes('text/html'))
      return c.json({ object: 'list', data: queues });
    c.header('content-security-policy', "default-src 'none'; style-src 'unsafe-inline'");
    return c.html(page(queues));
  };
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
