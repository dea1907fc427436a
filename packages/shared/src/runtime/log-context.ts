import { AsyncLocalStorage } from 'node:async_hooks';

/** What a line of the log is about. Stands on every line that is written while it is worked on. */
export interface LogContext {
  /** Of the HTTP request; goes with its jobs. */
  requestId?: string | undefined;
  tenantId?: string;
  streamId?: string;
  jobId?: string;
  batchId?: string;
  /** Of the batch's input, from 0. */
  line?: number;
}

const storage = new AsyncLocalStorage<LogContext>();

/** Does `work`, and all that it starts, in this context. */
export function withLogContext<Result>(context: LogContext, work: () => Result): Result {
  return storage.run({ ...context }, work);
}

/** From here on, for everything in the current context; nothing outside of one. */
export function addToLogContext(fields: LogContext): void {
  const context = storage.getStore();
  if (context) Object.assign(context, fields);
}

/** The current one; empty outside of any. */
export function logContext(): LogContext {
  return storage.getStore() ?? {};
}
