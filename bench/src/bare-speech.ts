/**
 * A child that calls the engine `flite` in a bare loop: as many threads, the same texts, the sound
 * counted and thrown away. No queue, no Redis, no file.
 */
import type { BareSpeechOrder, BareSpeechReply } from './batch-plan.ts';

// Not an import of ours: the bench alone looks behind an app's door, for the engine without the app.
const { flite } = (await import(
  new URL('../../apps/tts-worker/src/engines/flite.ts', import.meta.url).href
)) as { flite: FliteEngine };

interface FliteEngine {
  createFrom(
    environment: Record<string, string>,
    context: { concurrency: number; warn: () => void },
  ): Promise<{
    synthesize(
      request: { text: string; voice: string; model: string; speed: number },
      signal: AbortSignal,
    ): AsyncIterable<{ pcm: Uint8Array }>;
    close(): Promise<void>;
  }>;
}

async function speakAll({ texts, threads, voice }: BareSpeechOrder): Promise<BareSpeechReply> {
  const engine = await flite.createFrom({}, { concurrency: threads, warn: () => undefined });
  const { signal } = new AbortController();
  let next = 0;
  let bytes = 0;
  const lane = async (): Promise<void> => {
    for (let text = texts[next++]; text !== undefined; text = texts[next++]) {
      const request = { text, voice, model: 'flite', speed: 1 };
      for await (const { pcm } of engine.synthesize(request, signal)) bytes += pcm.byteLength;
    }
  };
  const startMs = performance.now();
  await Promise.all(Array.from({ length: threads }, lane));
  const elapsedMs = performance.now() - startMs;
  await engine.close();
  return { elapsedMs, bytes };
}

process.once('message', (order: BareSpeechOrder) => {
  void speakAll(order).then((reply) => process.send?.(reply, () => process.disconnect?.()));
});
