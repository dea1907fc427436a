import { resolve } from 'node:path';
import { SAMPLE_RATE_HZ, type AudioFormat } from '@antiphon/shared/audio/audio-format';
import { wavHeader } from '@antiphon/shared/audio/wav';
import { describeApiFailure, isAbort } from '../api-failure.ts';
import { CliError, USAGE_EXIT } from '../cli-error.ts';
import type { CliContext } from '../context.ts';
import { INTERRUPTED_EXIT } from '../interrupts.ts';
import { createModelChoice, USUAL_SPEECH_MODELS } from '../model-choice.ts';
import { createOutputFile, createWavFile, type WavFile } from '../sound/output-file.ts';
import { playerFailure } from '../sound/open-player.ts';
import { SoundQueue } from '../sound/sound-queue.ts';
import { savedFormat } from './saved-format.ts';
import { SpeechClient } from './speech-client.ts';
import { askedFormat, copyBodies, encodeWavs, joinWavs } from './speech-writer.ts';

export interface SayOptions {
  text: string;
  voice: string;
  model?: string;
  speed?: number;
  format?: AudioFormat;
  /** As given; `-` is standard output. Left out: the sound is played. */
  save?: string;
}

/** Speaks a text through the loudspeaker or into a file. Returns the exit code; throws a CliError. */
export async function say(context: CliContext, options: SayOptions): Promise<number> {
  const { api, interrupts } = context;
  const { text, voice, speed, save, format } = options;
  if (!/[\p{L}\p{N}]/u.test(text)) {
    throw new CliError('there is nothing to say', 'give a text', { exitCode: USAGE_EXIT });
  }
  if (save === undefined && format !== undefined) {
    throw new CliError('--format is of a file', 'add --save', { exitCode: USAGE_EXIT });
  }
  const model = createModelChoice(api, options.model, USUAL_SPEECH_MODELS);
  const speech = new SpeechClient(api, model, { voice, ...(speed === undefined ? {} : { speed }) });
  const { signal, release } = interrupts.guard();
  try {
    if (save === undefined) await playText(context, { speech, text, signal });
    else
      await saveText(
        context,
        { speech, text, signal },
        { save, format: savedFormat(save, format) },
      );
    return signal.aborted ? INTERRUPTED_EXIT : 0;
  } catch (thrown) {
    if (signal.aborted && isAbort(thrown)) return INTERRUPTED_EXIT;
    throw describeApiFailure(thrown, api.baseUrl);
  } finally {
    release();
  }
}

interface Saying {
  speech: SpeechClient;
  text: string;
  signal: AbortSignal;
}

async function playText(context: CliContext, { speech, text, signal }: Saying): Promise<void> {
  const player = await context.openPlayer();
  try {
    if (!player.audible) throw playerFailure('AUDIO_PLAYER=none plays nothing');
    const streamId = `say-${process.pid}`;
    const sampleRateHz = SAMPLE_RATE_HZ;
    const playback = await player.play({ streamId, sampleRateHz }).catch((thrown: unknown) => {
      throw playerFailure(thrown);
    });
    let failure: CliError | undefined;
    const queue = new SoundQueue(playback, {
      sampleRateHz,
      onFailure: (thrown) => {
        failure = playerFailure(thrown);
      },
    });
    const stop = (): void => void queue.stop().catch(() => undefined);
    signal.addEventListener('abort', stop, { once: true });
    try {
      const bytes = await copyBodies(
        speech.bodies(text, () => 'pcm', signal),
        async (pcm) => {
          if (failure) throw failure;
          await queue.push(pcm);
        },
      );
      if (bytes === 0) throw noSound();
      await queue.end();
      if (failure) throw failure;
    } finally {
      signal.removeEventListener('abort', stop);
      await queue.stop();
    }
  } finally {
    await player.close();
  }
}

function noSound(): CliError {
  return new CliError('the server sent no sound', 'see its log, or look with doctor');
}

interface Target {
  save: string;
  format: AudioFormat;
}

async function saveText(context: CliContext, saying: Saying, target: Target): Promise<void> {
  if (target.save === '-') await saveToPipe(context, saying, target.format);
  else if (target.format === 'wav') await saveWav(context, saying, target.save);
  else await saveFile(context, saying, target);
}

/** With exact sizes, whatever the server writes into its headers, and at the server's rate. */
async function saveWav({ directory }: CliContext, saying: Saying, save: string): Promise<void> {
  const { speech, text, signal } = saying;
  let file: WavFile | undefined;
  try {
    await joinWavs(
      speech.bodies(text, () => 'wav', signal),
      async (sampleRateHz) => {
        const opened = await createWavFile(resolve(directory, save), sampleRateHz);
        file = opened;
        return (pcm) => opened.write(pcm);
      },
    );
    if (!file || (await file.finish()) === 0) throw noSound();
  } finally {
    await file?.discard();
  }
}

async function saveFile({ directory }: CliContext, saying: Saying, target: Target): Promise<void> {
  const file = await createOutputFile(resolve(directory, target.save));
  try {
    await writeSpeech(saying, target.format, (bytes) => file.write(bytes));
    if (file.sizeBytes === 0) throw noSound();
    await file.finish();
  } finally {
    await file.discard();
  }
}

async function saveToPipe(
  { terminal }: CliContext,
  saying: Saying,
  format: AudioFormat,
): Promise<void> {
  if (terminal.isTty) {
    throw new CliError('sound is nothing for a terminal', 'pipe it: --save - | …', {
      exitCode: USAGE_EXIT,
    });
  }
  await writeSpeech(saying, format, (bytes) => terminal.writeBytes(bytes));
}

async function writeSpeech(
  { speech, text, signal }: Saying,
  format: AudioFormat,
  write: (bytes: Uint8Array) => Promise<void>,
): Promise<void> {
  let asked = format;
  const bodies = speech.bodies(
    text,
    (pieces) => {
      asked = askedFormat(format, pieces);
      return asked;
    },
    signal,
  );
  // Which way it goes is known once the text is cut, when the first body is there.
  const first = await bodies.next();
  const all = (async function* () {
    if (!first.done) yield first.value;
    yield* bodies;
  })();
  if (asked === format && format !== 'wav') await copyBodies(all, write);
  else if (format === 'wav') {
    await joinWavs(all, async (sampleRateHz) => {
      await write(wavHeader({ sampleRateHz }));
      return write;
    });
  } else await encodeWavs(all, format, write);
}
