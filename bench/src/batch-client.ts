import { setTimeout as delay } from 'node:timers/promises';

/** How often a batch is looked at. */
const LOOK_MS = 500;
const PATIENCE_MS = 15 * 60_000;

export interface BatchObject {
  id: string;
  status: string;
  output_file_id: string | null;
  error_file_id: string | null;
  request_counts: { total: number; completed: number; failed: number };
}

async function call<T>(url: string, init?: RequestInit): Promise<T> {
  const response = await fetch(url, init);
  const text = await response.text();
  if (!response.ok) throw new Error(`${url}: HTTP ${response.status}: ${text.slice(0, 500)}`);
  return JSON.parse(text) as T;
}

/** Makes a batch of speech lines, one for each text; resolves with its id. */
export async function createBatch(base: string, texts: string[], voice: string): Promise<string> {
  const lines = texts.map((input, index) =>
    JSON.stringify({
      ...{ custom_id: `line-${index}`, method: 'POST', url: '/v1/audio/speech' },
      body: { model: 'flite', input, voice, response_format: 'wav' },
    }),
  );
  const form = new FormData();
  form.set('purpose', 'batch');
  form.set('file', new File([lines.join('\n')], 'bench.jsonl'));
  const { id } = await call<{ id: string }>(`${base}/files`, { method: 'POST', body: form });
  const order = { input_file_id: id, endpoint: '/v1/audio/speech', completion_window: '24h' };
  const batch = await call<BatchObject>(`${base}/batches`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(order),
  });
  return batch.id;
}

export const readBatch = (base: string, batchId: string): Promise<BatchObject> =>
  call<BatchObject>(`${base}/batches/${batchId}`);

/** Resolves when `isReached` says so of the batch. */
export async function untilBatch(
  base: string,
  batchId: string,
  isReached: (batch: BatchObject) => boolean,
): Promise<BatchObject> {
  const deadlineMs = performance.now() + PATIENCE_MS;
  for (;;) {
    const batch = await readBatch(base, batchId);
    if (isReached(batch)) return batch;
    if (performance.now() > deadlineMs || ['failed', 'expired', 'cancelled'].includes(batch.status))
      throw new Error(`The batch is ${batch.status}: ${JSON.stringify(batch)}`);
    await delay(LOOK_MS);
  }
}

/** Throws unless every line is there once, done, with sound. */
export async function checkBatch(base: string, batch: BatchObject, count: number): Promise<void> {
  const { total, completed, failed } = batch.request_counts;
  if (total !== count || completed !== count || failed !== 0)
    throw new Error(`Counts are wrong: ${JSON.stringify(batch.request_counts)}, not ${count}`);
  const output = await (await fetch(`${base}/files/${batch.output_file_id}/content`)).text();
  const seen = new Set<string>();
  for (const line of output.trimEnd().split('\n')) {
    const { custom_id: id, response } = JSON.parse(line) as {
      custom_id: string;
      response: { status_code: number; body: { bytes: number } };
    };
    if (seen.has(id)) throw new Error(`${id} is there twice`);
    if (response.status_code !== 200 || response.body.bytes < 1000)
      throw new Error(`${id} has no sound: ${line}`);
    seen.add(id);
  }
  if (seen.size !== count) throw new Error(`${seen.size} lines are there, not ${count}`);
}

/** Asks for speech as somebody does who waits; resolves with the ms to the first byte of sound. */
export async function firstAudioMs(base: string, input: string, voice: string): Promise<number> {
  const startMs = performance.now();
  const response = await fetch(`${base}/audio/speech`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'flite', input, voice, response_format: 'pcm' }),
  });
  if (!response.ok || !response.body) throw new Error(`HTTP ${response.status}`);
  const reader = response.body.getReader();
  await reader.read();
  const elapsedMs = performance.now() - startMs;
  for (;;) if ((await reader.read()).done) break;
  return elapsedMs;
}
