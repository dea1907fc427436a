import { wavHeader } from '@antiphon/shared/audio/wav';
import { z } from 'zod';
import type { Api } from '../api.ts';
import { describeApiFailure, isAbort } from '../api-failure.ts';
import { SpeechClient } from '../speech/speech-client.ts';
import { joinWavs } from '../speech/speech-writer.ts';
import {
  createModelChoice,
  USUAL_SPEECH_MODELS,
  USUAL_TRANSCRIPTION_MODELS,
} from '../model-choice.ts';
import { transcribeFile } from '../transcription/transcription-client.ts';
import { type CheckResult, failed, ok, warning } from './check.ts';

const SENTENCE = 'The quick brown fox jumps over the lazy dog.';
const WITHIN_MS = 60_000;
const transcriptSchema = z.looseObject({ text: z.string() });

/** Says a sentence and has it transcribed: the whole way through both stages and back. */
export async function checkRoundTrip(
  api: Api,
  voices: string[],
  interrupted: AbortSignal,
): Promise<CheckResult> {
  const signal = AbortSignal.any([interrupted, AbortSignal.timeout(WITHIN_MS)]);
  try {
    const spoken = await speak(api, voices, signal);
    const file = new File([spoken.wav], 'doctor.wav');
    const startedMs = performance.now();
    let transcript = '';
    const show = (text: string): void => {
      transcript += text;
    };
    const model = createModelChoice(api, undefined, USUAL_TRANSCRIPTION_MODELS);
    const request = { file, format: 'json', stream: false } as const;
    await transcribeFile(api, model, request, { show, signal });
    const heard = transcriptSchema.parse(JSON.parse(transcript)).text;
    const took = `said ${spoken.seconds.toFixed(1)} s in ${seconds(spoken.tookMs)}, heard in ${seconds(performance.now() - startedMs)}`;
    if (shareHeard(heard) >= 0.5) return ok(`${took}: "${heard.trim()}"`);
    const what = `${took}, but as "${heard.trim()}" instead of "${SENTENCE}"`;
    return warning(what, 'try another voice or a better recogniser');
  } catch (thrown) {
    if (isAbort(thrown) || signal.aborted) {
      return failed(`no answer within ${WITHIN_MS / 1000} s`, "see the server's log");
    }
    const { message, advice } = describeApiFailure(thrown, api.baseUrl);
    return failed(message, advice);
  }
}

interface Spoken {
  wav: Uint8Array<ArrayBuffer>;
  /** Of sound. */
  seconds: number;
  tookMs: number;
}

async function speak(api: Api, voices: string[], signal: AbortSignal): Promise<Spoken> {
  const voice = voices.includes('alloy') ? 'alloy' : (voices[0] ?? 'alloy');
  const model = createModelChoice(api, undefined, USUAL_SPEECH_MODELS);
  const speech = new SpeechClient(api, model, { voice });
  const startedMs = performance.now();
  const parts: Uint8Array[] = [];
  let rateHz = 0;
  await joinWavs(
    speech.bodies(SENTENCE, () => 'wav', signal),
    async (sampleRateHz) => {
      rateHz = sampleRateHz;
      return async (pcm) => void parts.push(Buffer.from(pcm));
    },
  );
  const pcm = Buffer.concat(parts);
  const header = wavHeader({ sampleRateHz: rateHz, dataBytes: pcm.byteLength });
  return {
    wav: new Uint8Array(Buffer.concat([header, pcm])),
    seconds: pcm.byteLength / 2 / rateHz,
    tookMs: performance.now() - startedMs,
  };
}

/** Which part of the sentence's words came back. */
function shareHeard(heard: string): number {
  const words = wordsOf(SENTENCE);
  const found = wordsOf(heard);
  return words.filter((word) => found.includes(word)).length / words.length;
}

const wordsOf = (text: string): string[] => text.toLowerCase().match(/[a-z]+/g) ?? [];
const seconds = (ms: number): string => `${(ms / 1000).toFixed(2)} s`;
