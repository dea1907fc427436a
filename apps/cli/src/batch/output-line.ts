import { z } from 'zod';
import type { Batch, BatchClient } from './batch-client.ts';
import { textLines } from './jsonl.ts';

const schema = z.object({
  custom_id: z.string(),
  response: z.object({ status_code: z.number(), body: z.unknown() }).nullish(),
  error: z.object({ code: z.string().nullish(), message: z.string().nullish() }).nullish(),
});

/** How one line of a batch ended. */
export type OutputLine =
  | { customId: string; body: unknown }
  | { customId: string; code: string | undefined; message: string };

const errorBody = z.object({
  error: z.object({ message: z.string(), code: z.string().nullish() }),
});

/** The lines of a batch that is over, the good ones first. What is no such line is left out. */
export async function* outputLines(
  client: BatchClient,
  batch: Batch,
  signal: AbortSignal,
): AsyncGenerator<OutputLine> {
  for (const fileId of [batch.output_file_id, batch.error_file_id]) {
    if (!fileId) continue;
    for await (const line of textLines(client.content(fileId, signal))) {
      const parsed = parseLine(line);
      if (parsed) yield parsed;
    }
  }
}

/** One line of an output or error file. */
export function parseLine(line: string): OutputLine | undefined {
  const { data } = schema.safeParse(jsonOf(line));
  if (!data) return undefined;
  const { custom_id: customId, response, error } = data;
  if (response && response.status_code < 400 && !error) return { customId, body: response.body };
  const told = errorBody.safeParse(response?.body).data?.error ?? error;
  const message = told?.message ?? `status ${response?.status_code ?? 'unknown'}`;
  return { customId, code: told?.code ?? undefined, message };
}

function jsonOf(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

const speechBody = z.object({
  file_id: z.string(),
  bytes: z.number(),
  format: z.string().optional(),
});

/** Where the sound of a line is; undefined for a body of another kind. */
export function soundOf(
  body: unknown,
): { fileId: string; bytes: number; format?: string } | undefined {
  const { data } = speechBody.safeParse(body);
  return (
    data && {
      fileId: data.file_id,
      bytes: data.bytes,
      ...(data.format === undefined ? {} : { format: data.format }),
    }
  );
}

const textBody = z.object({ text: z.string(), content_type: z.string().startsWith('text/') });

/** Subtitles and other transcripts that are no JSON; undefined for a body of another kind. */
export const textOf = (body: unknown): string | undefined => textBody.safeParse(body).data?.text;

/** A transcript that is JSON, as a text; undefined for a body of another kind or endpoint. */
export function transcriptOf(body: unknown, endpoint: string): string | undefined {
  if (!/^\/v1\/audio\/(?:transcriptions|translations)$/.test(endpoint)) return undefined;
  return z.object({ text: z.string() }).safeParse(body).success ? jsonText(body) : undefined;
}

/** As it is saved: for someone who reads it. */
export const jsonText = (body: unknown): string => JSON.stringify(body, undefined, 2);
