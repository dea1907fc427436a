import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';

/** Carried in the environment by everything that belongs to one run. */
const RUN_VARIABLE = 'ANTIPHON_RUN';

/**
 * Waits for the end of its input, then ends what carries the run's mark, with its children (a Redis
 * overwrites the environment that /proc shows): SIGTERM, after 3 s SIGKILL.
 */
const SCRIPT = `
read -r _
members() {
  marked=$(grep -lsz "^${RUN_VARIABLE}=$1$" /proc/[0-9]*/environ | cut -d/ -f3)
  [ -n "$marked" ] || return 0
  children=$(grep -lsE "^PPid:[[:space:]]*($(echo $marked | tr ' ' '|'))$" /proc/[0-9]*/status | cut -d/ -f3)
  echo $marked $children
}
found=$(members "$1")
[ -n "$found" ] || exit 0
kill $found 2>/dev/null
tenths=30
while [ $tenths -gt 0 ] && kill -0 $found 2>/dev/null; do
  sleep 0.1
  tenths=$((tenths - 1))
done
kill -s KILL $found $(members "$1") 2>/dev/null
`;

/**
 * Ends a whole run, however this process ends: turbo and pnpm put what they start into process
 * groups of their own, so that neither a signal to a group nor a parent's death reaches the tests.
 */
export class RunReaper {
  readonly #shell: ChildProcess;
  readonly #run = `${process.pid}-${Date.now()}`;

  constructor() {
    this.#shell = spawn('sh', ['-c', SCRIPT, 'reaper', this.#run], {
      cwd: '/',
      detached: true,
      stdio: ['pipe', 'ignore', 'ignore'],
    });
    this.#shell.stdin?.on('error', () => {});
    this.#shell.unref();
  }

  /** `environment` with the mark of this run. */
  mark(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
    return { ...environment, [RUN_VARIABLE]: this.#run };
  }

  /** Ends everything that carries the mark; resolves when that is done. */
  async end(): Promise<void> {
    if (this.#shell.exitCode !== null) return;
    this.#shell.ref(); // nothing else may hold this process open: it would end with code 13
    const exited = once(this.#shell, 'exit');
    this.#shell.stdin?.end();
    await exited;
  }
}
