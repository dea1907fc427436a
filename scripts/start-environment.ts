import { existsSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { FFMPEG_NEED, REDIS_NEED, type SystemNeed, isMet } from './system-packages.ts';

export type Environment = Record<string, string | undefined>;

const DEFAULTS: Environment = {
  HOST: '127.0.0.1',
  PORT: '8000',
  AI_SERVICE: 'demo',
  TTS_SERVICE: 'flite',
  STT_SERVICE: 'pocketsphinx',
  DATA_DIR: '.data',
};

/** Reads `.env` in `root` into the process's environment; what stands there already wins. */
export function loadDotEnv(root: string): void {
  const file = join(root, '.env');
  if (existsSync(file)) process.loadEnvFile(file);
}

/** The environment of our processes, with defaults for what is unset or empty and `DATA_DIR` absolute. */
export function startEnvironment(given: Environment, root: string): Environment {
  const environment: Environment = { ...given };
  for (const [name, value] of Object.entries(DEFAULTS)) environment[name] ||= value;
  environment['DATA_DIR'] = resolve(root, environment['DATA_DIR'] ?? '');
  // One address for three workers on one host would be taken twice: their health servers stay off.
  delete environment['HEALTH_PORT'];
  if (!environment['TTS_FALLBACK_SERVICE'] && isMet(espeakNeed(environment))) {
    environment['TTS_FALLBACK_SERVICE'] = 'espeak';
  }
  return environment;
}

/** The speech recogniser, at the place where its engine looks for it. */
export function pocketsphinxNeed(environment: Environment): SystemNeed {
  return {
    purpose: 'speech recognition (or set STT_SERVICE)',
    programs: [environment['STT_POCKETSPHINX_PATH'] || 'pocketsphinx_continuous'],
    paths: [environment['STT_POCKETSPHINX_MODEL_DIR'] || '/usr/share/pocketsphinx/model/en-us'],
    packages: ['pocketsphinx', 'pocketsphinx-en-us'],
  };
}

/** The speaker of other languages, likewise. */
export function espeakNeed(environment: Environment): SystemNeed {
  return {
    purpose: 'speech in other languages',
    programs: [environment['TTS_ESPEAK_PATH'] || 'espeak-ng'],
    packages: ['espeak-ng'],
  };
}

/** What Debian and Ubuntu call the packages of the player programs. */
const PLAYER_PACKAGES: Record<string, string> = {
  aplay: 'alsa-utils',
  pacat: 'pulseaudio-utils',
  'pw-play': 'pipewire-bin',
  ffplay: 'ffmpeg',
};

/**
 * A program that plays: the one that is set, or any. On Linux ffplay alone is no reason to do
 * without a better one: it comes with ffmpeg and begins 100 ms later than the others.
 */
export function playerNeed(environment: Environment): SystemNeed {
  const chosen = environment['AUDIO_PLAYER_PROGRAM'];
  const any = Object.keys(PLAYER_PACKAGES).filter(
    (program) => program !== 'ffplay' || process.platform !== 'linux',
  );
  return {
    purpose: 'playing on this machine (or set AUDIO_PLAYER)',
    programs: chosen ? [chosen] : any,
    packages: [PLAYER_PACKAGES[basename(chosen ?? '')] ?? 'alsa-utils'],
  };
}

/** What the chosen engines need from the system. */
export function systemNeeds(environment: Environment): SystemNeed[] {
  const speech = [environment['TTS_SERVICE'], environment['TTS_FALLBACK_SERVICE']];
  return [
    ...(environment['REDIS_URL'] ? [] : [REDIS_NEED]),
    FFMPEG_NEED,
    ...(environment['STT_SERVICE'] === 'pocketsphinx' ? [pocketsphinxNeed(environment)] : []),
    ...(speech.includes('espeak') ? [espeakNeed(environment)] : []),
    ...(environment['AUDIO_PLAYER'] === 'speaker' ? [playerNeed(environment)] : []),
  ];
}

/** Where this machine reaches the gateway: a wildcard address is none to connect to. */
export function baseUrl(environment: Environment): string {
  const host = environment['HOST'] ?? '';
  const wildcard = host === '0.0.0.0' || host === '::' || host === '';
  const shown = wildcard ? '127.0.0.1' : host.includes(':') ? `[${host}]` : host;
  return `http://${shown}:${environment['PORT']}`;
}

/** Three commands to paste: a chat, a speech file, and that very file transcribed. */
export function linesToPaste(environment: Environment): string[] {
  const url = baseUrl(environment);
  const hasKeys = Boolean(environment['API_KEYS'] || environment['API_KEYS_FILE']);
  const key = hasKeys ? ' -H "Authorization: Bearer $ANTIPHON_KEY"' : '';
  const json = ` -H 'Content-Type: application/json'`;
  return [
    ...(hasKeys ? ['export ANTIPHON_KEY=...   # one of your API keys'] : []),
    `curl -N ${url}/v1/chat/completions${key}${json} -d '{"stream":true,"messages":[{"role":"user","content":"Hello! What is 6 times 7?"}]}'`,
    `curl ${url}/v1/audio/speech${key}${json} -d '{"model":"tts-1","voice":"alloy","input":"The quick brown fox jumps over the lazy dog."}' -o speech.mp3`,
    `curl ${url}/v1/audio/transcriptions${key} -F model=whisper-1 -F file=@speech.mp3`,
  ];
}
