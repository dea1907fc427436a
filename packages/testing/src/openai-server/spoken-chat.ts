import type { ScriptedPhrase } from './script.ts';
import { spokenPcm } from './speech.ts';

/** A multiple of 6: whole samples and whole groups of base64. */
const FRAGMENT_BYTES = 4800;
const EXPIRES_AT = 1_790_003_600;

/** The deltas of a spoken answer (contract, section 1.3): `id` and `expires_at` come once each. */
export function* spokenDeltas(phrases: readonly ScriptedPhrase[]): Generator<object> {
  let head: { id?: string } = { id: 'audio_scripted' };
  for (const { transcript, content } of phrases) {
    yield { audio: { ...head, transcript } };
    head = {};
    const pcm = spokenPcm(transcript);
    for (let at = 0; at < pcm.byteLength; at += FRAGMENT_BYTES) {
      yield { audio: { data: pcm.toString('base64', at, at + FRAGMENT_BYTES) } };
    }
    if (content !== undefined) yield { content };
  }
  yield { audio: { expires_at: EXPIRES_AT } };
}
