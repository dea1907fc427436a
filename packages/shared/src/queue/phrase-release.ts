import { speechJobSchema } from '../jobs/job-catalog.ts';
import { z } from 'zod';
import type { StreamLog } from '../streams/stream-log.ts';
import type { JobProducer } from './job-producer.ts';

/** What all speech jobs of one stream have in common; lies in the stream's state. */
export const speechTemplateSchema = z.object({
  queueName: z.string(),
  job: speechJobSchema.omit({ phraseIndex: true, text: true, pause: true, streamId: true }),
});
export type SpeechTemplate = z.output<typeof speechTemplateSchema>;

/**
 * Enqueues the phrases that may run now. Called by whoever changed a number that decides it: the
 * opener, a tts-worker at the end of a phrase, the gateway after it has sent audio. Twice is
 * harmless. Throws `queue_unavailable` or `storage_full` when the queue does not take one, and ioredis'
 * errors when the stream's Redis does not answer: the next caller enqueues what nobody has claimed
 * for a second.
 */
export async function releasePhrases(
  log: StreamLog,
  producer: JobProducer,
  streamId: string,
): Promise<void> {
  const { speech, phrases } = await log.release(streamId);
  if (phrases.length === 0) return;
  const { queueName, job } = speechTemplateSchema.parse(JSON.parse(speech));
  await Promise.all(
    phrases.map(({ phraseIndex, ...body }) =>
      producer.enqueue(
        queueName,
        'speech',
        { ...job, streamId, phraseIndex, ...body },
        // The first phrase of any stream before later ones of others.
        { jobId: `${streamId}-${phraseIndex}`, priority: phraseIndex },
      ),
    ),
  );
}
