import { type ChildProcess, spawn } from 'node:child_process';

/** After our death the groups had their SIGTERM from the kernel; this long they have to obey. */
const GRACE_SECONDS = 5;

/**
 * Reads one line per change, all process groups that live; at the end of the input it waits for the
 * last ones named and kills what is left. An empty last line leaves nothing to do.
 */
const SCRIPT = `
while read -r line; do groups=$line; done
tenths=${GRACE_SECONDS * 10}
while [ $tenths -gt 0 ]; do
  alive=
  for group in $groups; do kill -0 "-$group" 2>/dev/null && alive="$alive $group"; done
  groups=$alive
  [ -n "$groups" ] || exit 0
  sleep 0.1
  tenths=$((tenths - 1))
done
for group in $groups; do kill -s KILL -- "-$group" 2>/dev/null; done
`;

/**
 * Ends the process groups of this process when it is killed outright: a parent-death signal reaches
 * only the leaders, and what those started (speech engines, ffmpeg) may outlive them. It is a shell
 * in a session of its own that waits on a pipe from us.
 */
export class GroupReaper {
  readonly #shell: ChildProcess;

  constructor() {
    this.#shell = spawn('sh', ['-c', SCRIPT], {
      cwd: '/',
      detached: true,
      stdio: ['pipe', 'ignore', 'ignore'],
    });
    this.#shell.on('error', () => {});
    this.#shell.stdin?.on('error', () => {});
    this.#shell.unref();
  }

  /** The leaders of the groups that live now. */
  watch(leaderPids: readonly number[]): void {
    this.#shell.stdin?.write(`${leaderPids.join(' ')}\n`);
  }

  /** Sends it home: our groups ended in order. */
  dismiss(): void {
    this.#shell.stdin?.end('\n');
  }
}
