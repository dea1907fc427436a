/** Where the sound of one stream goes. */
export interface Playback {
  /**
   * s16le mono at the rate that `play` was given, any whole number of samples. Resolves when the
   * player can take more, so that no more than about a second lies ahead of the loudspeaker.
   * Rejects with a VoiceError (`player_failed`) when the sound cannot be played, and after `stop`.
   */
  write(pcm: Uint8Array): Promise<void>;
  /** Resolves when all that was written has been heard (or is in its file). */
  end(): Promise<void>;
  /** Silent at once (within 100 ms at the loudspeaker); what was written and not heard is dropped. Twice is harmless. */
  stop(): Promise<void>;
}

export interface PlayOptions {
  streamId: string;
  /** Hz. */
  sampleRateHz: number;
}

/** Plays sound where this process runs. Several playbacks at once are mixed or written apart. */
export interface AudioPlayer {
  /** False: nothing is ever heard, so that nothing needs to be synthesized. */
  readonly audible: boolean;
  /** Throws `player_failed` when there is no way to play. */
  play(options: PlayOptions): Promise<Playback>;
  /** Stops every playback and frees what the player holds. */
  close(): Promise<void>;
}
