import { loadConfig } from '@antiphon/shared/runtime/load-config';
import { z } from 'zod';

/** For the player, which parses its own variables, and for the programs it looks for. */
export const environment = process.env;

const schema = z.object({
  OPENAI_BASE_URL: z.string().default('http://127.0.0.1:8000/v1'),
  OPENAI_API_KEY: z.string().optional(),
});

export type CliConfig = z.output<typeof schema>;

/** For a server nothing is played unless told; whoever types a command wants to hear it. */
export const playerName = (): string => environment['AUDIO_PLAYER'] || 'speaker';

export const readConfig = (): CliConfig => loadConfig(schema, environment);

/**
 * The folder that relative paths start from. `npm run` changes to the workspace's root and leaves
 * the caller's folder in INIT_CWD; only our own script is believed, since other npm scripts that
 * call this program directly hand their INIT_CWD down too.
 */
export function startDirectory(): string {
  const caller = environment['INIT_CWD'];
  return environment['npm_lifecycle_event'] === 'antiphon' && caller ? caller : process.cwd();
}
