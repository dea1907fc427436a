import { basename } from 'node:path';
import { z } from 'zod';
import { SAMPLE_RATE_HZ } from '../audio/audio-format.ts';
import { VoiceError } from '../errors/voice-error.ts';
import type { AudioPlayer, PlayOptions, Playback } from '../services/audio-player.ts';
import { defineEngine } from '../services/define-engine.ts';
import { hasSetpriv } from './player-child.ts';
import { PLAYER_NAMES, type PlayerProgram, playerPrograms } from './player-program.ts';
import { SpeakerPlayback } from './speaker-playback.ts';

/** Of silence: what a program must be able to play to be chosen. */
const TRIAL_BYTES = (SAMPLE_RATE_HZ / 20) * 2;

interface SpeakerOptions {
  programs: PlayerProgram[];
  mortal: boolean;
}

interface Trials {
  /** The first that played. */
  program?: PlayerProgram;
  /** Why the ones that are installed did not play. */
  failures: VoiceError[];
}

class SpeakerPlayer implements AudioPlayer {
  readonly audible = true;
  readonly #options: SpeakerOptions;
  readonly #playbacks = new Set<SpeakerPlayback>();
  #program: PlayerProgram | undefined;
  #trials: Promise<Trials> | undefined;
  #closed = false;

  constructor(options: SpeakerOptions) {
    this.#options = options;
  }

  async play({ sampleRateHz }: PlayOptions): Promise<Playback> {
    const program = this.#program ?? (await this.#choose());
    return this.#start(program, sampleRateHz);
  }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#playbacks].map((playback) => playback.stop()));
    await this.#trials;
  }

  /** Tries the programs; those who ask at the same time share one round of it. */
  tryPrograms(): Promise<Trials> {
    this.#trials ??= this.#runTrials().finally(() => {
      this.#trials = undefined;
    });
    return this.#trials;
  }

  /** There may be a device now that was not there at the start. */
  async #choose(): Promise<PlayerProgram> {
    const { program, failures } = await this.tryPrograms();
    if (this.#closed) throw new VoiceError('server_shutting_down');
    if (program) return program;
    throw failures[0] ?? new VoiceError('player_failed', { message: 'No player is installed.' });
  }

  async #runTrials(): Promise<Trials> {
    const failures = new Map<string, VoiceError>();
    for (const program of this.#options.programs) {
      if (this.#closed) break;
      const playback = this.#start(program, SAMPLE_RATE_HZ);
      try {
        await playback.write(new Uint8Array(TRIAL_BYTES));
        await playback.end();
        this.#program = program;
        return { program, failures: [...failures.values()] };
      } catch (thrown) {
        const { missing } = await playback.exit;
        // Of two ways to call one program the last says why: the first may be an unknown option.
        if (!missing) failures.set(program.path, VoiceError.from(thrown, 'player_failed'));
      }
    }
    return { failures: [...failures.values()] };
  }

  #start(program: PlayerProgram, sampleRateHz: number): SpeakerPlayback {
    if (this.#closed) throw new VoiceError('server_shutting_down');
    const playback = new SpeakerPlayback({ program, sampleRateHz, mortal: this.#options.mortal });
    this.#playbacks.add(playback);
    void playback.exit.then(() => this.#playbacks.delete(playback));
    return playback;
  }
}

export const speaker = defineEngine({
  description: `The sound device of the gateway's machine, by ${PLAYER_NAMES.join(', ')} or the like`,
  defaultConcurrency: 1,
  config: z.object({
    AUDIO_PLAYER_PROGRAM: z
      .string()
      .refine((path) => PLAYER_NAMES.includes(basename(path)), {
        error: `must be one of ${PLAYER_NAMES.join(', ')}, or the path of one`,
      })
      .optional(),
  }),
  create: async ({ AUDIO_PLAYER_PROGRAM: chosen }, { warn }): Promise<AudioPlayer> => {
    const programs = playerPrograms(chosen);
    const player = new SpeakerPlayer({ programs, mortal: await hasSetpriv() });
    const { program, failures } = await player.tryPrograms();
    if (!program && failures.length === 0) {
      throw new Error(
        `AUDIO_PLAYER=speaker needs the program ${chosen ?? PLAYER_NAMES.join(' or ')}, which is not there. ` +
          'Install one (Debian, Ubuntu: apt-get install alsa-utils) or set AUDIO_PLAYER_PROGRAM.',
      );
    }
    if (!program) warn(`AUDIO_PLAYER=speaker: no sound yet. ${failures[0]?.message ?? ''}`);
    return player;
  },
});
