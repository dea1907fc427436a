import { once } from 'node:events';
import type { AppProcess } from '../src/stack.ts';

/** For processes whose memory is to be asked: a debugger may come in. */
export const ASKABLE = { NODE_OPTIONS: '--inspect=127.0.0.1:0' };

/** Bytes. */
export interface ProcessMemory {
  /** Heap and buffers that somebody holds. */
  held: number;
  resident: number;
}

/**
 * Collects the garbage of a process started with `ASKABLE`, and tells what is left. Resident memory
 * alone tells nothing: V8 is told to let our heap grow, and it came and went by 60 MB from round to
 * round of the same load.
 */
export async function collectedMemory({ output }: AppProcess): Promise<ProcessMemory> {
  const url = /ws:\/\/\S+/.exec(output())?.[0];
  if (url === undefined) throw new Error('the process was not started with ASKABLE');
  const socket = new WebSocket(url);
  await once(socket, 'open');
  const call = async (id: number, method: string, params: object = {}): Promise<string> => {
    socket.send(JSON.stringify({ id, method, params }));
    for (;;) {
      const [{ data }] = (await once(socket, 'message')) as [{ data: string }];
      const answer = JSON.parse(data) as { id?: number; result: { result?: { value: string } } };
      if (answer.id === id) return answer.result.result?.value ?? '';
    }
  };
  await call(1, 'HeapProfiler.collectGarbage');
  const expression = 'JSON.stringify(process.memoryUsage())';
  const told = await call(2, 'Runtime.evaluate', { expression });
  const { heapUsed, external, rss } = JSON.parse(told) as NodeJS.MemoryUsage;
  socket.close();
  return { held: heapUsed + external, resident: rss };
}
