/**
 * One encoder per answer: all phrases run through it, so that there is one header and no seam.
 * Calls are awaited one after the other; each may yield to the event loop.
 */
export interface AudioEncoder {
  readonly contentType: string;
  /** Takes s16le mono at `SAMPLE_RATE_HZ`, any number of bytes (an odd one is kept for the next call). Returns what is ready, maybe empty. */
  encode(pcm: Uint8Array): Promise<Uint8Array>;
  /** Returns the rest; nothing may follow. */
  end(): Promise<Uint8Array>;
  /** Frees what is held; called once, also after `end` and in mid-answer. */
  close(): void;
}
