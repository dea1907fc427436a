import { setImmediate as nextTurn } from 'node:timers/promises';
import { text } from 'node:stream/consumers';
import {
  errorFileId,
  inputBlobId,
  lineBodyBlobId,
  outputFileId,
} from '@antiphon/shared/batches/batch-key';
import { type BatchRecord, type BatchUsage, isOver } from '@antiphon/shared/batches/batch-record';
import type { BatchFiles } from '@antiphon/shared/batches/batch-store';
import { type LineResult, lineResultSchema } from '@antiphon/shared/batches/line-result';
import type { FileRecord } from '@antiphon/shared/files/file-record';
import { MAX_JOB_BYTES } from '@antiphon/shared/queue/job-producer';
import type { GatewayContext } from '../gateway-context.ts';
import { type InlineResult, type OutputLine, UNDONE, outputLine } from '../openai/batch-output.ts';
import { openInput } from './input-blob.ts';
import { readLine } from './input-line.ts';
import { FIRST_LINE, type InputLine, type LinePlace, readBlock } from './input-lines.ts';
import { LineFile } from './line-file.ts';

type OutputContext = Pick<GatewayContext, 'batches' | 'fileBlobs'>;
export type Ending = 'completed' | 'expired' | 'cancelled';

/** Results that are read at once: each may have 16 KB. */
const RESULTS_AT_ONCE = 64;
/** Of them, which may lie in a bucket: a request each. One may be as large as an answer of an upstream. */
const STORED_AT_ONCE = 8;
/** Of lines that are written, before others have their turn. */
const WRITE_SLICE_MS = 10;

/** It was counted, and cannot be told. */
const LOST: InlineResult = {
  ...{ type: 'error', error: { code: 'internal_error', message: 'The result was lost.' } },
};

export interface WrittenBatch {
  files: BatchFiles;
  /** What nobody needs any more when the batch is over, besides its input. */
  blobIds: string[];
  /** Of its lines. */
  soundFileIds: string[];
}

/** Another keeper has ended the batch meanwhile: what was read since then is nothing. */
class EndedElsewhere extends Error {}

/**
 * Writes what a closed batch ends with, in the order of its input, whoever has written it before: a
 * file for answers, one for errors, neither without a line, both kept for `outputLifeSeconds`; and
 * its tokens. Undefined when it was ended by another keeper meanwhile. Throws `internal_error` when
 * its input is gone, and what the stores throw; another try writes both anew.
 */
export async function writeBatchFiles(
  context: OutputContext,
  batch: BatchRecord,
  ending: Ending,
): Promise<WrittenBatch | undefined> {
  const { fileBlobs } = context;
  const output = new LineFile(fileBlobs, outputFileId(batch.id));
  const errors = new LineFile(fileBlobs, errorFileId(batch.id));
  const blobIds: string[] = [];
  const soundFileIds: string[] = [];
  let usage: BatchUsage | undefined;
  try {
    for await (const line of answerLines(context, batch, ending)) {
      await (line.isError ? errors : output).write(line.text);
      if (line.usage) usage = add(usage, line.usage);
      blobIds.push(...line.blobIds);
      if (line.soundFileId !== undefined) soundFileIds.push(line.soundFileId);
    }
    const outputFile = await endFile(context, batch, { file: output, name: 'output' });
    const errorFile = await endFile(context, batch, { file: errors, name: 'error' });
    return { files: { outputFile, errorFile, usage }, blobIds, soundFileIds };
  } catch (error) {
    output.abandon();
    errors.abandon();
    if (error instanceof EndedElsewhere) return undefined;
    throw error;
  }
}

const add = (one: BatchUsage | undefined, other: BatchUsage): BatchUsage => ({
  inputTokens: (one?.inputTokens ?? 0) + other.inputTokens,
  outputTokens: (one?.outputTokens ?? 0) + other.outputTokens,
});

/** What is to be known of it, when the batch ends. */
async function endFile(
  { batches }: OutputContext,
  { id, tenantId, outputLifeSeconds }: BatchRecord,
  { file, name }: { file: LineFile; name: 'output' | 'error' },
): Promise<FileRecord | undefined> {
  // From here on it takes the place of what another keeper may have written.
  await requireOpen(batches, id);
  const stored = await file.end();
  if (!stored) return undefined;
  const createdAtSeconds = Math.floor(Date.now() / 1000);
  return {
    ...{ id: stored.fileId, tenantId, bytes: stored.sizeBytes, filename: `${id}_${name}.jsonl` },
    ...{ purpose: 'batch_output', createdAtSeconds },
    expiresAtSeconds: createdAtSeconds + outputLifeSeconds,
  };
}

/** Throws EndedElsewhere: a batch that is over has no results any more, what was read before it was is whole. */
async function requireOpen(batches: OutputContext['batches'], batchId: string): Promise<void> {
  const now = await batches.find(batchId);
  if (!now || isOver(now.status)) throw new EndedElsewhere();
}

async function* answerLines(
  context: OutputContext,
  batch: BatchRecord,
  ending: Ending,
): AsyncGenerator<OutputLine & { blobIds: string[]; soundFileId: string | undefined }> {
  const open = (offset: number) => openInput(context.fileBlobs, inputBlobId(batch.id), offset);
  let next: LinePlace | undefined = FIRST_LINE;
  let sliceStartMs = performance.now();
  while (next) {
    const block = await readBlock(open, next);
    next = block.next;
    for await (const { input, result, inline } of withResults(context, batch.id, block.lines)) {
      const line = answerLine(batch, input, inline ?? undone(ending));
      const soundFileId = inline?.type === 'speech' ? inline.fileId : undefined;
      yield { ...line, blobIds: blobsOf(batch, input, result), soundFileId };
      if (performance.now() - sliceStartMs < WRITE_SLICE_MS) continue;
      await nextTurn();
      sliceStartMs = performance.now();
    }
  }
}

interface EndedLine {
  input: InputLine;
  result: LineResult | undefined;
  /** The same, wherever it lay. */
  inline: InlineResult | undefined;
}

async function* withResults(
  context: OutputContext,
  batchId: string,
  lines: InputLine[],
): AsyncGenerator<EndedLine> {
  const { batches } = context;
  for (let from = 0; from < lines.length; from += RESULTS_AT_ONCE) {
    const inputs = lines.slice(from, from + RESULTS_AT_ONCE);
    const numbers = inputs.map(({ line }) => line);
    const results = await batches.results(batchId, numbers);
    await requireOpen(batches, batchId);
    for (let at = 0; at < inputs.length; at += STORED_AT_ONCE) {
      yield* await Promise.all(
        inputs.slice(at, at + STORED_AT_ONCE).map(async (input, offset) => {
          const result = results[at + offset];
          return { input, result, inline: await readResult(context, batchId, result) };
        }),
      );
    }
  }
}

/** What was stored for a line besides its sound, and is not needed when the files are written. */
function blobsOf({ id, endpoint }: BatchRecord, input: InputLine, result: LineResult | undefined) {
  const size = input.bytes?.length ?? 0;
  // The body that is queued is about as long as its line.
  const mayHaveBody = endpoint === '/v1/chat/completions' && size > MAX_JOB_BYTES / 2;
  return [
    ...(result?.type === 'stored' ? [result.blobId] : []),
    ...(mayHaveBody ? [lineBodyBlobId(id, input.line)] : []),
  ];
}

function answerLine(
  { id: batchId, endpoint }: BatchRecord,
  input: InputLine,
  result: Parameters<typeof outputLine>[0]['result'],
): OutputLine {
  const { customId, body } = readLine(input);
  const line = { batchId, endpoint, line: input.line, customId, body: body.value };
  try {
    return outputLine({ ...line, result });
  } catch {
    // Of another version, say: one line must not keep the batch from its end.
    return outputLine({ ...line, result: LOST });
  }
}

const undone = (ending: Ending) => (ending === 'completed' ? LOST : UNDONE[ending]);

async function readResult(
  { batches, fileBlobs }: OutputContext,
  batchId: string,
  result: LineResult | undefined,
): Promise<InlineResult | undefined> {
  if (result?.type !== 'stored') return result;
  const stored = await fileBlobs.get(result.blobId);
  const parsed = stored && parseResult(await text(stored));
  if (parsed && parsed.type !== 'stored') return parsed;
  // Another keeper may have ended the batch since, and deleted it.
  await requireOpen(batches, batchId);
  return LOST;
}

function parseResult(json: string): LineResult | undefined {
  try {
    return lineResultSchema.safeParse(JSON.parse(json)).data;
  } catch {
    return undefined;
  }
}
