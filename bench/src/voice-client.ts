/**
 * The client of spoken answers: runs one plan at a time and reports when the first sound came, by
 * the stamps of the upstream. A process of its own; takes its orders from its parent and ends with it.
 */
import { Agent } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import type { AudioFormat } from '@antiphon/shared/audio/audio-format';
import { createAudioEncoder, warmAudioEncoders } from '@antiphon/shared/audio/create-audio-encoder';
import { speakBare } from './bare-voice.ts';
import { monotonicMs } from './clock.ts';
import { expectedSoundBytes, expectedTranscript } from './expected-voice.ts';
import type { LoadTarget } from './load-plan.ts';
import { post } from './post.ts';
import { VOICE_MARKS_PATH } from './scripted-voice.ts';
import type { VoiceMarks } from './scripted-voice.ts';
import { SpokenReader } from './spoken-reader.ts';
import { seededRandom } from './statistics.ts';
import { BrokenStreamError } from './token-reader.ts';
import { VOICE_ANSWER_MS, markerOf, voiceRequestBody } from './voice-script.ts';
import type {
  VoiceFormat,
  VoiceOrder,
  VoicePlan,
  VoiceReply,
  VoiceResult,
  VoiceTimes,
} from './voice-plan.ts';

/** The same moments for each side. */
const SPREAD_SEED = 20;

/** When the first sound of an answer came; by marker. */
type FirstSounds = Map<string, number>;

/** Has one answer spoken to its end; resolves with the moment of its first sound. */
type Speak = (marker: string) => Promise<number>;

/** No two answers of a process share a marker. */
let answers = 0;

const CODEC: Record<VoiceFormat, AudioFormat> = { pcm16: 'pcm', mp3: 'mp3' };

interface SpeakOptions {
  agent: Agent;
  format: VoiceFormat;
  expectedBytes: number;
}

function gatewayVoice(target: LoadTarget, { agent, format, expectedBytes }: SpeakOptions): Speak {
  const audio = { modalities: ['text', 'audio'], audio: { voice: 'bench', format } };
  const path = '/v1/chat/completions';
  return async (marker) => {
    const body = voiceRequestBody(marker, audio);
    const response = await post({ agent, ...target, path, body });
    const reader = new SpokenReader();
    let firstSoundMs = 0;
    for await (const bytes of response) {
      const nowMs = monotonicMs();
      reader.push(bytes as Buffer);
      if (firstSoundMs === 0 && reader.soundBytes > 0) firstSoundMs = nowMs;
    }
    reader.end({ transcript: expectedTranscript(marker), soundBytes: expectedBytes });
    return firstSoundMs;
  };
}

function bareVoice(upstreamPort: number, { agent, format, expectedBytes }: SpeakOptions): Speak {
  return async (marker) => {
    const encoder = await createAudioEncoder(CODEC[format]);
    let firstSoundMs = 0;
    let soundBytes = 0;
    const onSound = (bytes: Uint8Array): void => {
      if (firstSoundMs === 0 && bytes.length > 0) firstSoundMs = monotonicMs();
      soundBytes += bytes.length;
    };
    try {
      const said = await speakBare({ agent, upstreamPort, marker, encoder, onSound });
      if (said === expectedTranscript(marker) && soundBytes === expectedBytes) return firstSoundMs;
      throw new BrokenStreamError(`${soundBytes} bytes of sound of ${expectedBytes}: ${said}`);
    } finally {
      encoder.close();
    }
  };
}

function nextMarker(): string {
  answers += 1;
  return markerOf(answers);
}

async function speakSpread(
  speak: Speak,
  { voices, warmUpMs, measureMs }: VoicePlan & { kind: 'spread' },
): Promise<FirstSounds> {
  const counted: FirstSounds = new Map();
  const random = seededRandom(SPREAD_SEED);
  const startMs = monotonicMs();
  const speakAt = async (atMs: number): Promise<void> => {
    await delay(startMs + atMs - monotonicMs());
    const marker = nextMarker();
    const firstSoundMs = await speak(marker);
    if (atMs >= warmUpMs) counted.set(marker, firstSoundMs);
  };
  const running: Promise<void>[] = [];
  // Exponential pauses between starts make a Poisson process.
  const pauseMs = (): number => -Math.log(1 - random()) * (VOICE_ANSWER_MS / voices);
  for (let atMs = pauseMs(); atMs < warmUpMs + measureMs; atMs += pauseMs()) {
    running.push(speakAt(atMs));
  }
  await Promise.all(running);
  return counted;
}

async function speakBursts(
  speak: Speak,
  { voices, bursts }: VoicePlan & { kind: 'burst' },
): Promise<FirstSounds> {
  const counted: FirstSounds = new Map();
  for (let burst = 0; burst < bursts; burst += 1) {
    await Promise.all(
      Array.from({ length: voices }, async () => {
        const marker = nextMarker();
        counted.set(marker, await speak(marker));
      }),
    );
  }
  return counted;
}

async function takeMarks(upstreamPort: number): Promise<Record<string, Partial<VoiceMarks>>> {
  const answer = await fetch(`http://127.0.0.1:${upstreamPort}${VOICE_MARKS_PATH}`);
  return (await answer.json()) as Record<string, Partial<VoiceMarks>>;
}

function timesOf(firstSoundMs: number, marks: Partial<VoiceMarks> | undefined): VoiceTimes {
  const { boundaryMs, askedMs, wroteMs } = marks ?? {};
  if (boundaryMs === undefined || askedMs === undefined || wroteMs === undefined) {
    throw new BrokenStreamError('A phrase that the upstream was not asked for');
  }
  const toEngineMs = askedMs - boundaryMs;
  const fromEngineMs = firstSoundMs - wroteMs;
  const sinceBoundaryMs = firstSoundMs - boundaryMs;
  return { sinceBoundaryMs, addedMs: toEngineMs + fromEngineMs, toEngineMs, fromEngineMs };
}

async function run({ way, upstreamPort, plan }: VoiceOrder): Promise<VoiceResult> {
  const agent = new Agent({ keepAlive: true, maxSockets: Infinity, maxFreeSockets: Infinity });
  const { format } = plan;
  const before = answers;
  try {
    const expectedBytes = await expectedSoundBytes(CODEC[format]);
    const options = { agent, format, expectedBytes };
    const speak =
      way.kind === 'bare' ? bareVoice(upstreamPort, options) : gatewayVoice(way.target, options);
    await takeMarks(upstreamPort); // those of a plan that failed
    const counted = await (plan.kind === 'spread'
      ? speakSpread(speak, plan)
      : speakBursts(speak, plan));
    const marks = await takeMarks(upstreamPort);
    const times = Array.from(counted, ([marker, ms]) => timesOf(ms, marks[marker]));
    return { times, allAnswers: answers - before };
  } finally {
    agent.destroy();
  }
}

await warmAudioEncoders();
process.on('message', (order: VoiceOrder) => {
  const reply = (message: VoiceReply): void => void process.send?.(message);
  run(order).then(
    (result) => reply({ result }),
    (error: unknown) => reply({ failure: error instanceof Error ? error.message : String(error) }),
  );
});
process.once('disconnect', () => process.exit(0));
