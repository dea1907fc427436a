import type { SpeechRequest, Voice } from '@antiphon/shared/services/tts-service';
import { hasHan, isWrittenIn, scriptOf } from './text-script.ts';

/** One of espeak-ng's voices: they are languages. */
export interface EspeakVoice {
  id: string;
  name: string;
  /** Other language tags it serves, with espeak-ng's rank: the lowest of all voices is the best. */
  alsoFor: { tag: string; rank: number }[];
}

/**
 * OpenAI's names as variants of whatever language is spoken. Flite's names too: a phrase that
 * flite cannot say comes here with the voice that the client chose there.
 */
const VARIANTS: Record<string, string> = {
  alloy: 'f1',
  ash: 'm1',
  ballad: 'm2',
  coral: 'f2',
  echo: 'm3',
  fable: 'm4',
  onyx: 'm7',
  nova: 'f3',
  sage: 'f4',
  shimmer: 'f5',
  verse: 'm5',
  marin: 'linda',
  cedar: 'm6',
};
const FLITE_VARIANTS: Record<string, string> = {
  slt: 'f1',
  rms: 'm3',
  awb: 'm2',
  kal: 'm7',
  kal16: 'm7',
};

const ROW = /^\s*\d+\s+(?<id>\S+)\s+\S+\s+(?<name>\S+)\s+\S+\s*(?<also>(?:\(\S+ \d+\))*)\s*$/u;

/**
 * Reads what `espeak-ng --voices` prints. Doubled names are dropped, and names with capitals:
 * 1.51 lists Cherokee under one that it then says does not exist.
 */
export function parseVoices(listing: string): EspeakVoice[] {
  const voices = new Map<string, EspeakVoice>();
  for (const line of listing.split('\n')) {
    const { id, name, also } = ROW.exec(line)?.groups ?? {};
    if (id === undefined || name === undefined || /[A-Z]/.test(id) || voices.has(id)) continue;
    const alsoFor = [...(also ?? '').matchAll(/\((\S+) (\d+)\)/g)].map(([, tag = '', rank]) => ({
      tag,
      rank: Number(rank),
    }));
    voices.set(id, { id, name: name.replaceAll('_', ' '), alsoFor });
  }
  return [...voices.values()];
}

/** OpenAI's names first, so that the default voice follows the text's language. */
export function announcedVoices(voices: EspeakVoice[]): Voice[] {
  const openai = Object.keys(VARIANTS).map((id) => ({ id, name: `${id} (any language)` }));
  return [...openai, ...voices.map(({ id, name }) => ({ id, name, language: id }))];
}

/**
 * The `-v` argument: a voice that names a language is that language; else the client's language,
 * unless the text is in a script that it is not written in; else what the script suggests.
 */
export function voiceArgument(request: SpeechRequest, voices: EspeakVoice[]): string {
  const variant = VARIANTS[request.voice] ?? FLITE_VARIANTS[request.voice];
  if (variant !== undefined) return `${languageVoice(request, voices)}+${variant}`;
  const isKnown = voices.some(({ id }) => id === request.voice);
  if (isKnown && !(request.voice === 'cmn' && hasHan(request.text))) return request.voice;
  return languageVoice(request, voices);
}

function languageVoice({ text, language }: SpeechRequest, voices: EspeakVoice[]): string {
  const { script, voice } = scriptOf(text);
  const isFitting = script === 'Latn' || isWrittenIn(language ?? '', script);
  let id = (isFitting ? voiceForLanguage(language ?? '', voices) : undefined) ?? voice;
  if (id === 'cmn' && script === 'Hans') id = voice;
  return voices.some((known) => known.id === id) ? id : (voices[0]?.id ?? 'en');
}

/** `pt-BR` → pt-br, `fr` → fr-fr, `en` → en-us, `de-AT` → de; undefined when there is none. */
function voiceForLanguage(language: string, voices: EspeakVoice[]): string | undefined {
  const tag = language.toLowerCase();
  const primary = tag.split('-')[0] ?? tag;
  // espeak-ng's own first for plain "en" is British; OpenAI's voices are American.
  if (tag === 'en') return 'en-us';
  return (
    voices.find(({ id }) => id === tag)?.id ??
    bestFor(tag, voices) ??
    voices.find(({ id }) => id === primary)?.id ??
    bestFor(primary, voices)
  );
}

function bestFor(tag: string, voices: EspeakVoice[]): string | undefined {
  const ranked = voices.flatMap(({ id, alsoFor }) =>
    alsoFor.filter((other) => other.tag === tag).map(({ rank }) => ({ id, rank })),
  );
  return ranked.toSorted((one, other) => one.rank - other.rank)[0]?.id;
}
