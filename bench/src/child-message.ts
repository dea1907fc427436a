import type { ChildProcess } from 'node:child_process';

/** The next message of a child of ours; rejects if it ends instead. */
export async function messageOf<T>(child: ChildProcess, name: string): Promise<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  const onMessage = (message: unknown): void => resolve(message as T);
  const onExit = (): void => reject(new Error(`The ${name} ended by itself.`));
  child.once('message', onMessage).once('exit', onExit);
  try {
    return await promise;
  } finally {
    child.off('message', onMessage).off('exit', onExit);
  }
}
