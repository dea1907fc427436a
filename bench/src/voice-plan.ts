import type { LoadTarget } from './load-plan.ts';

/** How an answer is spoken: through a gateway, or by a loop in the client's own process. */
export type VoiceWay = { kind: 'gateway'; target: LoadTarget } | { kind: 'bare' };

/** Formats that may be streamed by everyone who speaks the contract. */
export type VoiceFormat = 'pcm16' | 'mp3';

/**
 * How answers follow each other.
 * spread: they begin at random moments (Poisson), so many that `voices` are spoken at once on
 * average; those of the first `warmUpMs` are not counted, then those of `measureMs` are.
 * burst: `voices` at once, `bursts` times.
 */
export type VoicePlan =
  | { kind: 'spread'; format: VoiceFormat; voices: number; warmUpMs: number; measureMs: number }
  | { kind: 'burst'; format: VoiceFormat; voices: number; bursts: number };

export interface VoiceOrder {
  way: VoiceWay;
  upstreamPort: number;
  plan: VoicePlan;
}

/** Times of one answer's first sound, in milliseconds. */
export interface VoiceTimes {
  /** Boundary written by the upstream → first sound here. */
  sinceBoundaryMs: number;
  /** That less the time which the scripted speech took. */
  addedMs: number;
  /** Boundary written → the upstream is asked for the phrase's speech. */
  toEngineMs: number;
  /** First samples written by the upstream → first sound here. */
  fromEngineMs: number;
}

export interface VoiceResult {
  /** One per counted answer. */
  times: VoiceTimes[];
  /** With those that are not counted. */
  allAnswers: number;
}

export type VoiceReply = { result: VoiceResult } | { failure: string };
