/** One phrase to be spoken. */
export interface SpeechRequest {
  text: string;
  /** A voice the engine announced, or any when it announces none. */
  voice: string;
  /** A model the engine announced. */
  model: string;
  /** 0.25 to 4; 1 is the voice's own pace. Pitch stays. */
  speed: number;
  /** How to speak, for engines that understand it (`instructions` of the API). */
  instructions?: string;
  /** BCP 47 tag, when the caller knows it. */
  language?: string;
  /** Nobody waits for it: what runs on this machine is to give way to all else (a line of a batch). */
  background?: boolean;
}

/** PCM, s16le mono, at any whole number of samples. */
export interface PcmChunk {
  pcm: Uint8Array;
  sampleRateHz: number;
}

export interface Voice {
  id: string;
  name: string;
  /** BCP 47 tag. */
  language?: string;
}

export interface SpeechCatalog {
  /** Names clients may ask for, aliases included. The first is the engine's default. */
  models: string[];
  /** Voices clients may ask for, OpenAI's names included; `any` when the engine cannot list them. */
  voices: Voice[] | 'any';
}

/** Speaks. */
export interface TTSService {
  /**
   * The same request gives the same samples, every time and in every process. A phrase whose
   * worker died is then synthesized again and continued; otherwise it ends where it was.
   */
  readonly deterministic: boolean;
  /**
   * What decides the sound besides the request: the engine, its version, the server behind it. Part
   * of the key under which the sound is cached; an engine without one is not cached.
   */
  readonly fingerprint?: string;
  /** How many phrases of one stream it makes sense to synthesize at once (threads; 2 to 3 when remote). */
  readonly parallelPhrases: number;
  /** The longest text it takes, in characters. */
  readonly maxPhraseCharacters: number;
  listVoices(signal: AbortSignal): Promise<SpeechCatalog>;
  /** False when the engine would say nothing or nonsense (a script it does not know). */
  canSpeak(text: string): boolean;
  /**
   * Yields the phrase's audio in order as it is made, and at least one sample for a text with a
   * letter or digit. Throws a VoiceError. When `signal` aborts, stops at once and throws
   * `signal.reason`; nothing goes on in the background.
   */
  synthesize(request: SpeechRequest, signal: AbortSignal): AsyncIterable<PcmChunk>;
  close(): Promise<void>;
}
