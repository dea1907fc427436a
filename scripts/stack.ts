import { setTimeout as delay } from 'node:timers/promises';
import { GroupReaper } from './group-reaper.ts';
import {
  type ExitReport,
  type ProcessEvents,
  type ProcessSpec,
  SupervisedProcess,
} from './supervised-process.ts';

/** A process that exits with 1 this early, before the stack was ever ready, is configured wrongly. */
const CONFIGURATION_EXIT_MS = 5000;
const READY_INTERVAL_MS = 50;
const LAST_LINES = 20;

export interface StackOutput {
  /** A line that a process wrote. False: it was not shown, so a failure has to show it. */
  line(name: string, text: string): boolean;
  /** A line of ours. */
  say(text: string): void;
}

/** A process cannot run. */
export class StackFailure extends Error {
  /** Its last lines, as far as nobody saw them yet. */
  readonly lines: readonly string[];

  constructor(message: string, lines: readonly string[]) {
    super(message);
    this.lines = lines;
  }
}

/**
 * Supervised processes that belong together: started layer by layer, stopped in the reverse order,
 * so that the gateway goes before the workers and Redis goes last.
 */
export class Stack implements ProcessEvents {
  readonly #output: StackOutput;
  readonly #layers: SupervisedProcess[][] = [];
  readonly #unseenLines = new Map<string, string[]>();
  readonly #broken = new AbortController();
  readonly #reaper = new GroupReaper();
  #wasReady = false;

  constructor(output: StackOutput) {
    this.#output = output;
  }

  /** Aborted with a StackFailure when a process turned out to be unable to run. */
  get broken(): AbortSignal {
    return this.#broken.signal;
  }

  get processes(): readonly SupervisedProcess[] {
    return this.#layers.flat();
  }

  startLayer(specs: readonly ProcessSpec[]): void {
    const layer = specs.map((spec) => new SupervisedProcess(spec, this));
    this.#layers.push(layer);
    for (const supervised of layer) supervised.start();
  }

  /** Resolves when `url` answers 200; rejects with the signal's reason. */
  async untilReady(url: string, signal: AbortSignal): Promise<void> {
    for (;;) {
      signal.throwIfAborted();
      if (await isOk(url, signal)) break;
      await delay(READY_INTERVAL_MS, undefined, { signal }).catch(() => signal.throwIfAborted());
    }
    this.#wasReady = true;
  }

  async stop(): Promise<void> {
    for (const layer of this.#layers.toReversed()) {
      await Promise.all(layer.map((supervised) => supervised.stop()));
    }
    this.#reaper.dismiss();
  }

  kill(): void {
    for (const supervised of this.processes) supervised.kill();
  }

  pidChanged(): void {
    this.#reaper.watch(this.processes.flatMap(({ pid }) => pid ?? []));
  }

  line(name: string, text: string): void {
    if (this.#output.line(name, text)) return;
    const lines = this.#unseenLines.get(name) ?? [];
    this.#unseenLines.set(name, [...lines.slice(1 - LAST_LINES), text]);
  }

  exit(report: ExitReport): boolean {
    const { name, code, signal, livedMs, restartInMs } = report;
    const how = signal ? `was ended by ${signal}` : `exited with code ${code}`;
    if (!this.#wasReady && code === 1 && livedMs < CONFIGURATION_EXIT_MS) {
      const lines = this.#unseenLines.get(name) ?? [];
      this.#broken.abort(new StackFailure(`${name} cannot run: it ${how}.`, lines));
      return false;
    }
    this.#output.say(`${name} ${how}; starting it again in ${restartInMs / 1000} s`);
    return true;
  }
}

async function isOk(url: string, signal: AbortSignal): Promise<boolean> {
  try {
    const reply = await fetch(url, { signal });
    await reply.body?.cancel();
    return reply.status === 200;
  } catch {
    return false;
  }
}
