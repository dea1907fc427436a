import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, constants, existsSync } from 'node:fs';
import { delimiter, resolve } from 'node:path';

/** Something from the system that is not an npm package. */
export interface SystemNeed {
  /** What asks for it, in the operator's words. */
  purpose: string;
  /** One of these programs has to be on PATH. */
  programs: readonly string[];
  /** Each of these has to exist as well. */
  paths?: readonly string[];
  /** What Debian and Ubuntu call it. */
  packages: readonly string[];
}

export const REDIS_NEED: SystemNeed = {
  purpose: 'the queues (or set REDIS_URL)',
  programs: ['redis-server', 'valkey-server'],
  packages: ['redis-server'],
};
export const FFMPEG_NEED: SystemNeed = {
  purpose: 'compressed audio',
  programs: ['ffmpeg'],
  packages: ['ffmpeg'],
};
/** A sound server of the tests' own, and the program that plays there. */
export const SPEAKER_TEST_NEEDS: readonly SystemNeed[] = [
  { purpose: 'the tests of the speaker', programs: ['pulseaudio'], packages: ['pulseaudio'] },
  { purpose: 'the tests of the speaker', programs: ['aplay'], packages: ['alsa-utils'] },
];

/** The first of `programs` that is on PATH; an absolute path stands for itself. */
export function findProgram(
  programs: readonly string[],
  path = process.env['PATH'] ?? '',
): string | undefined {
  return programs
    .flatMap((program) => path.split(delimiter).map((folder) => resolve(folder, program)))
    .find(isExecutable);
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

export function isMet(need: SystemNeed): boolean {
  return findProgram(need.programs) !== undefined && (need.paths ?? []).every((p) => existsSync(p));
}

/**
 * Installs what is missing with one apt call, as root or with passwordless sudo; nothing is asked.
 * @throws an operator's error with the command to type where that is not possible
 */
export async function ensureSystemPackages(
  needs: readonly SystemNeed[],
  say: (text: string) => void,
): Promise<void> {
  const missing = needs.filter((need) => !isMet(need));
  if (missing.length === 0) return;
  const packages = missing.flatMap((need) => need.packages);
  const root = rootCommand();
  if (!findProgram(['apt-get']) || root === undefined) throw new Error(whatToType(missing));
  say(`installing ${packages.join(' ')} with apt-get`);
  await runQuietly([...root, 'sh', '-c', INSTALL_SCRIPT, 'install', ...packages]);
  const stillMissing = missing.filter((need) => !isMet(need));
  if (stillMissing.length > 0) throw new Error(whatToType(stillMissing));
}

/** What stands before a command that needs root; undefined where there is no way without a question. */
function rootCommand(): string[] | undefined {
  if (process.getuid?.() === 0) return [];
  if (!findProgram(['sudo'])) return undefined;
  return spawnSync('sudo', ['-n', 'true'], { stdio: 'ignore' }).status === 0
    ? ['sudo', '-n']
    : undefined;
}

/** The operator's message: what is missing, what for, and the one command that brings it. */
export function whatToType(missing: readonly SystemNeed[]): string {
  const packages = missing.flatMap((need) => need.packages).join(' ');
  const lines = missing.map((need) => `${need.programs[0]} is missing: it is for ${need.purpose}.`);
  const command = findProgram(['apt-get'])
    ? `sudo apt-get update && sudo apt-get install -y --no-install-recommends ${packages}`
    : `the package manager of this system, for: ${packages}`;
  return [...lines, `Install with: ${command}`].join('\n');
}

/**
 * Debian's redis-server package also starts a system service and enables it for the next boot, its
 * pulseaudio one in every user's session: ours are private, so a policy file (absent by default)
 * forbids the start and the units are disabled. Nothing is removed for what we want: pulseaudio
 * would take the place of a desktop's PipeWire.
 */
const INSTALL_SCRIPT = `
set -e
export DEBIAN_FRONTEND=noninteractive
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  trap 'exit 1' HUP INT TERM
  printf '#!/bin/sh\\nexit 101\\n' >"$policy"
  chmod 755 "$policy"
fi
apt-get -o DPkg::Lock::Timeout=120 update -qq
apt-get -o DPkg::Lock::Timeout=120 install -y -qq --no-install-recommends --no-remove "$@"
command -v systemctl >/dev/null || exit 0
case " $* " in *" redis-server "*) systemctl disable redis-server >/dev/null 2>&1 || true ;; esac
case " $* " in *" pulseaudio "*)
  systemctl --global disable pulseaudio.service pulseaudio.socket >/dev/null 2>&1 || true
esac
`;

/** In a group of its own: a Ctrl-C in the middle would leave dpkg half configured. */
async function runQuietly([program = '', ...args]: readonly string[]): Promise<void> {
  const child = spawn(program, args, { detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (data: Buffer) => (output += data.toString()));
  }
  const [code] = (await once(child, 'close')) as [number | null];
  if (code !== 0) throw new Error(`${output.trim()}\napt-get failed; its output stands above.`);
}
