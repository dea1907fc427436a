import { constants, setPriority } from 'node:os';

/**
 * Work that nobody waits for: the calling worker thread gives way to everything else on this
 * machine, for good. Linux counts threads one by one; elsewhere it would be the whole process, which
 * is left as it is.
 */
export function lowerThreadPriority(): void {
  if (process.platform !== 'linux') return;
  try {
    setPriority(constants.priority.PRIORITY_LOW);
  } catch {
    // A sandbox may forbid it: the work is done all the same.
  }
}

/** The same for a child process, when it has started. */
export function lowerChildPriority({ pid }: { pid?: number | undefined }): void {
  if (pid === undefined) return;
  try {
    setPriority(pid, constants.priority.PRIORITY_LOW);
  } catch {
    // Gone already; its exit tells the rest.
  }
}
