import { checkRedis, redactRedisUrl } from '@antiphon/shared/queue/redis';
import type { CliContext } from '../context.ts';
import { CliError } from '../cli-error.ts';
import { findProgram } from '../sound/find-program.ts';
import { recordingPrograms, recordMicrophone } from '../sound/recorder.ts';
import { type CheckResult, failed, ok, warning } from './check.ts';

/** What Node strips types and passes our tests from. */
const LEAST_NODE = [22, 18];
const RECORDED_SECONDS = 0.2;
const RECORD_WITHIN_MS = 5000;

export function checkNode(version: string): CheckResult {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const [leastMajor = 0, leastMinor = 0] = LEAST_NODE;
  const enough = major > leastMajor || (major === leastMajor && minor >= leastMinor);
  if (enough) return ok(version);
  const advice = `run it by npm run antiphon, which brings its own Node, or install ${LEAST_NODE.join('.')}`;
  return failed(`${version} is too old`, advice);
}

/** `url` undefined: `npm start` runs a private one, which only its own processes reach. */
export async function checkQueue(url: string | undefined): Promise<CheckResult> {
  if (url === undefined) return ok('REDIS_URL is not set: npm start runs its own');
  try {
    await checkRedis(url, 'REDIS_URL');
    return ok(`${redactRedisUrl(url)} answers, maxmemory-policy is noeviction`);
  } catch (thrown) {
    const told = thrown instanceof Error ? thrown.message : String(thrown);
    const advice = /maxmemory-policy/.test(told)
      ? 'then put it into its configuration file too'
      : 'start it, or unset REDIS_URL so that npm start runs its own';
    return failed(told.replace(/^REDIS_URL: /, ''), advice);
  }
}

const PROGRAMS = [
  { program: 'ffmpeg', variable: '', of: 'ffmpeg', purpose: 'compressed audio' },
  {
    program: 'pocketsphinx_continuous',
    variable: 'STT_POCKETSPHINX_PATH',
    of: 'pocketsphinx pocketsphinx-en-us',
    purpose: 'STT_SERVICE=pocketsphinx',
  },
  {
    program: 'espeak-ng',
    variable: 'TTS_ESPEAK_PATH',
    of: 'espeak-ng',
    purpose: 'languages other than English',
  },
];

/** What engines use on this machine; a server elsewhere has its own. */
export function checkPrograms(environment: NodeJS.ProcessEnv): CheckResult {
  const found: string[] = [];
  const missing: typeof PROGRAMS = [];
  for (const need of PROGRAMS) {
    const name = environment[need.variable] || need.program;
    if (findProgram(name, environment)) found.push(name);
    else missing.push(need);
  }
  if (missing.length === 0) return ok(found.join(', '));
  const told = missing.map(({ program, purpose }) => `${program} is not here (${purpose})`);
  const packages = missing.map(({ of }) => of).join(' ');
  return warning(told.join(', '), `apt-get install ${packages}, unless the server is elsewhere`);
}

/** Plays a moment of silence, as every player does before it is used. */
export async function checkOutput({ openPlayer }: CliContext): Promise<CheckResult> {
  try {
    const player = await openPlayer();
    await player.close();
    if (!player.audible) return warning('AUDIO_PLAYER=none plays nothing', 'unset it');
    return ok('a sound device plays');
  } catch (thrown) {
    const advice = thrown instanceof CliError ? thrown.advice : 'plug one in';
    return warning(thrown instanceof Error ? thrown.message : String(thrown), advice);
  }
}

/** Records a moment, which is thrown away. */
export async function checkInput({ environment }: CliContext): Promise<CheckResult> {
  const programs = recordingPrograms(environment);
  let used = '';
  try {
    await recordMicrophone({
      environment,
      seconds: RECORDED_SECONDS,
      stop: AbortSignal.timeout(RECORD_WITHIN_MS),
      onStart: (program) => {
        used = program;
      },
    });
    return ok(`${used} records (programs here: ${programs.join(', ')})`);
  } catch (thrown) {
    const advice = thrown instanceof CliError ? thrown.advice : 'plug one in';
    return warning(thrown instanceof Error ? thrown.message : String(thrown), advice);
  }
}
