import { audioPlayers } from '@antiphon/shared/players/index';
import type { AudioPlayer } from '@antiphon/shared/services/audio-player';
import { CliError, USAGE_EXIT } from '../cli-error.ts';

/** The player of this name. Throws a CliError when it cannot play here and now. */
export async function openPlayer(
  name: string,
  environment: NodeJS.ProcessEnv,
): Promise<AudioPlayer> {
  const engine = Object.hasOwn(audioPlayers, name) ? audioPlayers[name] : undefined;
  if (!engine) {
    const known = Object.keys(audioPlayers).join(', ');
    const advice = `set it to one of ${known}`;
    throw new CliError(`AUDIO_PLAYER: '${name}' is unknown`, advice, { exitCode: USAGE_EXIT });
  }
  let warning: string | undefined;
  const warn = (message: string): void => {
    warning ??= message;
  };
  const player = await engine
    .createFrom(environment, { concurrency: 1, warn })
    .catch((thrown: unknown) => {
      throw playerFailure(thrown);
    });
  if (warning === undefined) return player;
  // A server waits for a device; whoever sits at a terminal is told.
  await player.close();
  throw playerFailure(warning);
}

/** What a player said, with the way out that is always there. */
export function playerFailure(thrown: unknown): CliError {
  if (thrown instanceof CliError) return thrown;
  const told = thrown instanceof Error ? thrown.message : String(thrown);
  // What it says for an operator of a server is not for whoever sits here.
  const what = told
    .replace(/^AUDIO_PLAYER=\w+: (no sound yet\. )?/, '')
    .replace(/\. Check the server's [^]*$|\.$/, '');
  return new CliError(what, 'or go without sound: chat --no-speak, say --save speech.wav', {
    cause: thrown,
  });
}
