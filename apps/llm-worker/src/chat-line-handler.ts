import type { LineContext, LineHandler } from '@antiphon/shared/batches/line-handler';
import { batchLineJobId } from '@antiphon/shared/jobs/batch-line-job';
import type { AIService } from '@antiphon/shared/services/ai-service';
import type { BlobStore } from '@antiphon/shared/storage/blob-store';
import { type FinishEvent, readRequest, requireFinish } from './chat-request.ts';
import { createCompletionWriter } from './text-writer.ts';

export interface ChatLineOptions {
  service: AIService;
  /** Where large bodies of lines lie. */
  fileBlobs: BlobStore;
}

/** Answers one line of a batch with a whole completion, as the endpoint would. */
export function createChatLineHandler({
  service,
  fileBlobs,
}: ChatLineOptions): LineHandler<'chat'> {
  return async (context) => {
    const requestJson = await readRequest(context.job.work, fileBlobs);
    const endTurn = await context.takeTurn();
    try {
      const body = await complete(service, context, requestJson);
      return { result: { type: 'completion', body } };
    } finally {
      endTurn();
    }
  };
}

async function complete(
  service: AIService,
  { job, signal }: LineContext<'chat'>,
  requestJson: string,
): Promise<string> {
  const { batchId, line, model, work } = job;
  // The same at each run, like all that a line makes.
  const streamId = batchLineJobId(batchId, line).slice('batch_'.length);
  const writer = createCompletionWriter({ streamId, model });
  const request = { requestJson, stream: false, choiceCount: work.choiceCount };
  const pieces: Uint8Array[] = [];
  let finish: FinishEvent | undefined;
  for await (const event of service.streamChat(request, signal)) {
    if (event.type === 'finish') finish = event;
    const bytes = writer.write(event);
    if (bytes) pieces.push(bytes);
  }
  requireFinish(finish);
  return Buffer.concat(pieces).toString('utf8');
}
