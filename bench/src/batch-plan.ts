export interface BareSpeechOrder {
  texts: string[];
  threads: number;
  voice: string;
}

export interface BareSpeechReply {
  elapsedMs: number;
  /** Of sound, s16le at the engine's own rate. */
  bytes: number;
}

/** What a batch did, timed from its creation to its last file. */
interface BatchFigures {
  lines: number;
  elapsedMs: number;
  /** The most memory that each process ever held, bytes (`VmHWM`). */
  peakBytes: Record<string, number>;
  /** CPU time of each process, ms. */
  cpuMs: Record<string, number>;
}

export interface BatchCaseResult {
  title: string;
  name: string;
  threads: number;
  batch: BatchFigures;
  /** Before and after the batch. */
  bareMsPerLine: number[];
  /** Request to first sound, ms, one each. */
  idleFirstAudioMs: number[];
  besideFirstAudioMs: number[];
}
