import { type BackendFactory, createRedisBackend, type RedisQueueBackend } from 'bullmq';
import type { Redis } from 'ioredis';

/** Scripts that a flow is added by; BullMQ defines them as `<name>:<its version>`. */
const FLOW_SCRIPTS = /^(?:addParentJob|addStandardJob|releaseParentIfNoPendingDependencies):/;

/** What ioredis keeps of a defined command. */
interface DefinedScript {
  sha: string;
  lua: string;
}

/**
 * For a `FlowProducer` on `redis`: adding a flow rejects when any of its jobs was not added. BullMQ
 * looks at the parent's result alone, and a transaction of Redis undoes nothing: a parent may be
 * there without its children then.
 */
export function createFlowBackend(redis: Redis): BackendFactory<RedisQueueBackend> {
  return (...given) => {
    const backend = createRedisBackend(...given);
    const addFlow = backend.addFlow.bind(backend);
    backend.addFlow = async (entries) => {
      await loadFlowScripts(redis);
      const results = await addFlow(entries);
      for (const [error, added] of results) {
        if (error) throw error;
        if (typeof added !== 'string') throw new Error(`a job of a flow was refused: ${added}`);
      }
      return results;
    };
    return backend;
  };
}

/**
 * ioredis sends a script's source once per socket and its hash from then on, and inside a transaction
 * nothing falls back: after a `SCRIPT FLUSH`, behind a proxy that changed servers, and after a
 * transaction that was discarded, every flow would fail until the socket breaks.
 */
async function loadFlowScripts(redis: Redis): Promise<void> {
  const scripts = Object.entries(redis.scriptsSet as Record<string, DefinedScript>).flatMap(
    ([name, script]) => (FLOW_SCRIPTS.test(name) ? [script] : []),
  );
  const known = (await redis.script('EXISTS', ...scripts.map(({ sha }) => sha))) as number[];
  const missing = scripts.filter((_, index) => known[index] !== 1);
  await Promise.all(missing.map(({ lua }) => redis.script('LOAD', lua)));
}
