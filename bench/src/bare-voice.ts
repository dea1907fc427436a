import type { Agent, IncomingMessage } from 'node:http';
import type { AudioEncoder } from '@antiphon/shared/audio/audio-encoder';
import { SilenceTrimmer } from '@antiphon/shared/audio/silence-trimmer';
import { createPhraseSplitter } from '@antiphon/shared/text/phrase-splitter';
import type { Phrase } from '@antiphon/shared/text/phrase-splitter';
import { post } from './post.ts';
import { voiceRequestBody } from './voice-script.ts';

export interface BareVoiceOptions {
  agent: Agent;
  upstreamPort: number;
  marker: string;
  encoder: AudioEncoder;
  onSound: (bytes: Uint8Array) => void;
}

/**
 * What a program does that has everything in one process: model → splitter → speech → trimmer →
 * encoder, each phrase asked for in the moment in which it is cut. No queue, no Redis, no gateway.
 * Resolves when the answer is spoken, with its transcript.
 */
export async function speakBare(options: BareVoiceOptions): Promise<string> {
  const { agent, upstreamPort: port, marker, encoder, onSound } = options;
  const splitter = createPhraseSplitter();
  let transcript = '';
  let spoken = Promise.resolve();
  const speak = (phrase: Phrase): void => {
    transcript += phrase.before + phrase.text;
    const body = JSON.stringify({ model: 'bench', voice: 'bench', input: phrase.text });
    const asked = post({ agent, port, path: '/v1/audio/speech', body });
    const earlier = spoken;
    spoken = Promise.all([asked, earlier]).then(([response]) =>
      encodePhrase(response, phrase, options),
    );
    spoken.catch(() => undefined); // awaited below
  };
  const path = '/v1/chat/completions';
  const answer = await post({ agent, port, path, body: voiceRequestBody(marker) });
  for await (const content of contents(answer)) splitter.push(content).forEach(speak);
  splitter.end().forEach(speak);
  await spoken;
  onSound(await encoder.end());
  return transcript;
}

async function encodePhrase(
  response: IncomingMessage,
  { pause }: Phrase,
  { encoder, onSound }: BareVoiceOptions,
): Promise<void> {
  const trimmer = new SilenceTrimmer(pause);
  for await (const pcm of response) onSound(await encoder.encode(trimmer.push(pcm as Buffer)));
  onSound(await encoder.encode(trimmer.end()));
}

/** The text of each chunk of an answer. */
async function* contents(answer: IncomingMessage): AsyncGenerator<string> {
  let rest = '';
  for await (const bytes of answer) {
    const lines = (rest + (bytes as Buffer).toString('latin1')).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      if (!line.startsWith('data: {')) continue;
      const chunk = JSON.parse(line.slice('data: '.length)) as {
        choices: { delta: { content?: string } }[];
      };
      yield chunk.choices[0]?.delta.content ?? '';
    }
  }
}
