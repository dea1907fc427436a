import { Counter, Gauge, type Registry } from 'prom-client';
import type { JobKind } from '../jobs/job-catalog.ts';
import type { JobHandler } from './job-worker.ts';

const RESULTS = ['done', 'failed', 'aborted'] as const;

/**
 * The handler, counted: jobs that run now, and how they ended. `aborted`: its stream was over, its
 * lock or gateway lost, or the worker stopped. A job whose stream had ended before is not counted.
 */
export function countJobs<Kind extends JobKind>(
  registry: Registry,
  queue: string,
  handler: JobHandler<Kind>,
): JobHandler<Kind> {
  const registers = [registry];
  const active = new Gauge({
    name: 'antiphon_jobs_active',
    help: 'Jobs that this worker runs now',
    labelNames: ['queue'],
    registers,
  });
  const jobs = new Counter({
    name: 'antiphon_jobs_total',
    help: 'Jobs that this worker ended',
    labelNames: ['queue', 'result'],
    registers,
  });
  active.set({ queue }, 0);
  for (const result of RESULTS) jobs.inc({ queue, result }, 0);
  return async (context) => {
    active.inc({ queue });
    try {
      await handler(context);
      jobs.inc({ queue, result: 'done' });
    } catch (error) {
      jobs.inc({ queue, result: context.signal.aborted ? 'aborted' : 'failed' });
      throw error;
    } finally {
      active.dec({ queue });
    }
  };
}
