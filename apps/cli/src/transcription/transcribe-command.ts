import { openAsBlob } from 'node:fs';
import { stat } from 'node:fs/promises';
import { basename, resolve } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { describeApiFailure, isAbort } from '../api-failure.ts';
import { CliError, errorLine, USAGE_EXIT } from '../cli-error.ts';
import type { CliContext } from '../context.ts';
import { INTERRUPTED_EXIT } from '../interrupts.ts';
import {
  createModelChoice,
  type ModelChoice,
  USUAL_TRANSCRIPTION_MODELS,
} from '../model-choice.ts';
import { recordMicrophone } from '../sound/recorder.ts';
import { type TranscriptFormat, transcribeFile } from './transcription-client.ts';

export interface TranscribeOptions {
  /** As given; `-` is standard input. None with `microphone`. */
  files: string[];
  microphone: boolean;
  seconds?: number;
  format: TranscriptFormat;
  language?: string;
  model?: string;
  stream: boolean;
}

/** Several of these in one output are none. */
const WHOLE_FILES: TranscriptFormat[] = ['srt', 'vtt'];

/** Transcribes files, one after the other, or the microphone. Returns the exit code; throws a CliError. */
export async function transcribe(
  context: CliContext,
  options: TranscribeOptions,
  stdin: NodeJS.ReadableStream,
): Promise<number> {
  checkUsage(options);
  const model = createModelChoice(context.api, options.model, USUAL_TRANSCRIPTION_MODELS);
  if (options.microphone) {
    const file = await recordFile(context, options.seconds);
    return transcribeOne(context, { ...options, model, file });
  }
  let exitCode = 0;
  for (const [at, path] of options.files.entries()) {
    if (options.files.length > 1 && options.format === 'text') {
      context.terminal.print(`${at === 0 ? '' : '\n'}==> ${path} <==\n`);
    }
    try {
      const file = await openFile(context.directory, path, stdin);
      exitCode = Math.max(exitCode, await transcribeOne(context, { ...options, model, file }));
    } catch (thrown) {
      // The others are transcribed all the same.
      if (options.files.length === 1 || !(thrown instanceof CliError)) throw thrown;
      context.terminal.notice(`${path}: ${errorLine(thrown)}`);
      exitCode = thrown.exitCode;
    }
    if (exitCode === INTERRUPTED_EXIT) break;
  }
  return exitCode;
}

function checkUsage({ files, microphone, seconds, format, stream }: TranscribeOptions): void {
  const fault = (what: string, advice: string): CliError =>
    new CliError(what, advice, { exitCode: USAGE_EXIT });
  if (microphone && files.length > 0) {
    throw fault('either files or the microphone can be transcribed', 'leave out one of them');
  }
  if (!microphone && files.length === 0) {
    throw fault('there is nothing to transcribe', 'name a file, or give --microphone');
  }
  if (!microphone && seconds !== undefined) {
    throw fault('--seconds is of a recording', 'add --microphone');
  }
  if (files.length > 1 && WHOLE_FILES.includes(format)) {
    throw fault(`${format} is one file of subtitles`, 'transcribe one file at a time');
  }
  if (stream && format !== 'text') {
    throw fault('--stream shows text', `leave out --format ${format}, or --stream`);
  }
}

async function transcribeOne(
  { api, interrupts, terminal }: CliContext,
  request: Omit<TranscribeOptions, 'model'> & { model: ModelChoice; file: File },
): Promise<number> {
  const { signal, release } = interrupts.guard();
  const { model, file, format, language, stream } = request;
  try {
    const show = (text: string): void => terminal.print(text);
    const asked = { file, format, stream, ...(language === undefined ? {} : { language }) };
    await transcribeFile(api, model, asked, { show, signal });
    return signal.aborted ? INTERRUPTED_EXIT : 0;
  } catch (thrown) {
    if (signal.aborted && isAbort(thrown)) return INTERRUPTED_EXIT;
    throw describeApiFailure(thrown, api.baseUrl);
  } finally {
    release();
  }
}

/** Of a file on disk only what is being sent is in memory. */
async function openFile(
  directory: string,
  path: string,
  stdin: NodeJS.ReadableStream,
): Promise<File> {
  if (path === '-') return new File([new Uint8Array(await buffer(stdin))], 'audio');
  const absolute = resolve(directory, path);
  const fault = (why: string, cause?: unknown): CliError =>
    new CliError(`'${path}' cannot be read (${why})`, 'name an audio file', { cause });
  const found = await stat(absolute).catch((cause: NodeJS.ErrnoException) => {
    throw fault(cause.code ?? cause.message, cause);
  });
  if (!found.isFile()) throw fault('not a file');
  const blob = await openAsBlob(absolute).catch((cause: Error) => {
    throw fault(cause.message, cause);
  });
  return new File([blob], basename(absolute));
}

async function recordFile(
  { environment, interrupts, terminal }: CliContext,
  seconds: number | undefined,
): Promise<File> {
  const stopped = new AbortController();
  const release = interrupts.listen(() => stopped.abort());
  try {
    const stop = AbortSignal.any([stopped.signal, interrupts.ended]);
    const until = seconds === undefined ? 'Ctrl-C ends the recording' : `for ${seconds} s`;
    const wav = await recordMicrophone({
      ...{ environment, stop },
      ...(seconds === undefined ? {} : { seconds }),
      onStart: (program) => terminal.notice(`recording by ${program}: ${until}`),
    });
    return new File([wav], 'microphone.wav');
  } finally {
    release();
  }
}
