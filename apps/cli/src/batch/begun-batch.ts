import { createHash, randomUUID } from 'node:crypto';
import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import type { Batch } from './batch-client.ts';
import { isUnknown } from './batch-failure.ts';
import type { BatchWork } from './follow-batch.ts';

const schema = z.object({
  version: z.literal(1),
  /** Tells this batch from all others. */
  key: z.string(),
  inputFileId: z.string(),
  /** What its lines name. */
  uploads: z.array(z.string()),
  /** Left out: it is not known whether it was begun. */
  batchId: z.string().optional(),
});
export type BegunBatch = z.output<typeof schema>;
type BatchFiles = Pick<BegunBatch, 'inputFileId' | 'uploads'>;

export interface BatchPlan {
  /** Where it is noted what was begun, until its results are there. */
  path: string;
  endpoint: string;
  window: string;
  /** Is not called when the batch was begun before. */
  upload(): Promise<BatchFiles>;
}

/** A file for each command: `parts` are all that its batch depends on. */
export function begunPath(folder: string, parts: unknown): string {
  const hash = createHash('sha256').update(JSON.stringify(parts)).digest('hex');
  return join(folder, `.antiphon-${hash.slice(0, 16)}.json`);
}

/** Nothing more comes of them; what an expired one has done is fetched first. */
const GIVEN_UP = ['failed', 'cancelled'];

/**
 * Begins a batch, or goes on with the one that the same command has begun. One that was cancelled or
 * refused, or that the server has forgotten, is begun anew.
 */
export async function beginBatch(
  work: BatchWork,
  plan: BatchPlan,
): Promise<BegunBatch & { batchId: string; isOld: boolean }> {
  const { client, signal } = work;
  const before = await loadBegun(plan.path);
  if (before) {
    const found = await findBatch(work, plan, before);
    if (found && !GIVEN_UP.includes(found.status)) {
      return { ...before, batchId: found.id, isOld: true };
    }
    await client.deleteFiles([before.inputFileId, ...before.uploads], signal);
  }
  const begun: BegunBatch = { version: 1, key: randomUUID(), ...(await plan.upload()) };
  await saveBegun(plan.path, begun);
  const batchId = await create(work, plan, begun);
  return { ...begun, batchId, isOld: false };
}

export async function loadBegun(path: string): Promise<BegunBatch | undefined> {
  const text = await readFile(path, 'utf8').catch(() => '');
  try {
    return schema.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}

/** Its results are there, or cannot be had: the same command begins anew. */
export const forgetBegun = (path: string): Promise<void> => rm(path, { force: true });

/** Runs what fetches results; those that the server has no more are not asked for twice. */
export async function whileThere<T>(path: string, fetching: () => Promise<T>): Promise<T> {
  try {
    return await fetching();
  } catch (thrown) {
    if (isUnknown(thrown)) await forgetBegun(path);
    throw thrown;
  }
}

async function findBatch(
  work: BatchWork,
  plan: BatchPlan,
  before: BegunBatch,
): Promise<Batch | undefined> {
  try {
    const batchId = before.batchId ?? (await create(work, plan, before));
    return await work.client.get(batchId, work.signal);
  } catch (thrown) {
    if (!isUnknown(thrown)) throw thrown;
    return undefined;
  }
}

async function create(
  { client, signal }: BatchWork,
  { path, endpoint, window }: BatchPlan,
  begun: BegunBatch,
): Promise<string> {
  const { inputFileId, key } = begun;
  const { id } = await client.create({ inputFileId, endpoint, window, key }, signal);
  await saveBegun(path, { ...begun, batchId: id });
  return id;
}

async function saveBegun(path: string, begun: BegunBatch): Promise<void> {
  await writeFile(`${path}.unfinished`, JSON.stringify(begun));
  await rename(`${path}.unfinished`, path);
}
