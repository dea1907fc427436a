import type { AudioPlayer } from '@antiphon/shared/services/audio-player';
import type { Api } from './api.ts';
import type { Interrupts } from './interrupts.ts';
import type { Terminal } from './terminal.ts';

/** What every command works with. */
export interface CliContext {
  api: Api;
  terminal: Terminal;
  interrupts: Interrupts;
  /** Where relative paths start. */
  directory: string;
  /** For programs that are looked for on PATH, and their own variables. */
  environment: NodeJS.ProcessEnv;
  /** Makes the loudspeaker. Rejects with a CliError when there is no way to play. */
  openPlayer: () => Promise<AudioPlayer>;
}
