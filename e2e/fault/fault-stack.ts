import { type OpenAIServer, startOpenAIServer } from '@antiphon/testing/openai-server';
import { startTcpProxy, type TcpProxy } from '@antiphon/testing/tcp-proxy';
import { PATIENCE, until } from '@antiphon/testing/until';
import { Redis } from 'ioredis';
import { type AppProcess, type Stack, startStack } from '../src/stack.ts';
import { untilAtRest } from './at-rest.ts';
import { ask, type AskOptions, type SeenAnswer } from './seen-answer.ts';

/** Short enough to be waited for. */
export const DEADLINES = {
  QUEUE_TIMEOUT_MS: 5000,
  FIRST_EVENT_TIMEOUT_MS: 5000,
  IDLE_TIMEOUT_MS: 4000,
  TOTAL_TIMEOUT_MS: 30_000,
  UPSTREAM_IDLE_TIMEOUT_MS: 2000,
  WRITE_STALL_TIMEOUT_MS: 3000,
  SHUTDOWN_DRAIN_MS: 3000,
  LOG_TTL_MS: 10_000,
  LOCK_DURATION_MS: 2000,
  STALLED_INTERVAL_MS: 1000,
};
/** No stream may take longer. */
export const STREAM_MS = DEADLINES.TOTAL_TIMEOUT_MS + 3000;

type WorkerName = 'llm-worker' | 'tts-worker';

export interface FaultStackOptions {
  /** How many of each; an upstream of its own for each llm-worker, one voice for all tts-workers. */
  llmWorkers?: number;
  ttsWorkers?: number;
  /** Each process reaches Redis through a proxy of its own. */
  proxied?: boolean;
  environment?: Record<string, string>;
  /** One of `API_KEYS`, where the gateway has any. */
  apiKey?: string;
}

/** A process and the way it reaches Redis by. */
export interface Member {
  process: AppProcess;
  proxy: TcpProxy | undefined;
  /** What it calls; undefined for the gateway. */
  upstream: OpenAIServer | undefined;
}

/** The real processes with short deadlines, whose upstreams and networks fail on demand. */
export class FaultStack {
  readonly stack: Stack;
  readonly redis: Redis;
  gateway!: Member;
  readonly llm: Member[] = [];
  readonly tts: Member[] = [];
  readonly #options: FaultStackOptions;
  readonly #closers: (() => Promise<void>)[] = [];
  /** Ended by the test itself. */
  readonly #ended = new Set<AppProcess>();

  private constructor(stack: Stack, options: FaultStackOptions) {
    this.stack = stack;
    this.#options = options;
    this.redis = new Redis(stack.redis.url);
    this.redis.on('error', () => undefined); // it is killed now and then
  }

  static async start(options: FaultStackOptions = {}): Promise<FaultStack> {
    const settings = Object.entries(DEADLINES).map(([name, value]) => [name, String(value)]);
    const stack = await startStack({
      apps: [],
      environment: {
        ...Object.fromEntries(settings),
        ...{ AI_SERVICE: 'openai', TTS_SERVICE: 'openai' },
        ...{ LLM_OPENAI_MODELS: 'scripted', TTS_OPENAI_MODELS: 'scripted-tts' },
        TTS_OPENAI_VOICES: 'alloy',
        ...options.environment,
      },
      models: [],
      ...(options.apiKey === undefined ? {} : { apiKey: options.apiKey }),
    });
    const made = new FaultStack(stack, options);
    try {
      await made.#startAll();
    } catch (error) {
      const outputs = stack.processes.map(({ name, output }) => `--- ${name}\n${output()}`);
      await made.close();
      throw new Error(`the stack did not come up:\n${outputs.join('\n')}`, { cause: error });
    }
    return made;
  }

  get baseUrl(): string {
    return this.stack.baseUrl;
  }

  get upstreams(): OpenAIServer[] {
    return [...this.llm, ...this.tts].flatMap(({ upstream }) => upstream ?? []);
  }

  get members(): Member[] {
    return [this.gateway, ...this.llm, ...this.tts];
  }

  async #startAll(): Promise<void> {
    const { llmWorkers = 1, ttsWorkers = 0 } = this.#options;
    this.gateway = await this.startMember('gateway', undefined);
    for (let count = 0; count < llmWorkers; count += 1) {
      const upstream = await this.openUpstream();
      this.llm.push(await this.startMember('llm-worker', upstream));
    }
    const voice = ttsWorkers > 0 ? await this.openUpstream() : undefined;
    for (let count = 0; count < ttsWorkers; count += 1)
      this.tts.push(await this.startMember('tts-worker', voice));
    if (llmWorkers > 0) await this.stack.untilModel('scripted');
    if (ttsWorkers > 0) await this.stack.untilModel('scripted-tts');
  }

  async openUpstream(): Promise<OpenAIServer> {
    const upstream = await startOpenAIServer({ tokens: 40, tokenDelayMs: 20 });
    this.#closers.push(() => upstream.close());
    return upstream;
  }

  /** One more process, on the way to Redis that the stack's options ask for. */
  async startMember(
    name: 'gateway' | WorkerName,
    upstream: OpenAIServer | undefined,
    environment: Record<string, string> = {},
  ): Promise<Member> {
    let proxy: TcpProxy | undefined;
    if (this.#options.proxied) {
      const opened = await startTcpProxy(this.stack.redis.port);
      this.#closers.push(() => opened.close());
      proxy = opened;
    }
    const process = this.stack.start(name, {
      ...(proxy ? { REDIS_URL: `redis://127.0.0.1:${proxy.port}` } : {}),
      ...(upstream ? { OPENAI_BASE_URL: upstream.baseUrl } : {}),
      ...environment,
    });
    await until(() => process.output().includes('"ready"'), {
      timeoutMs: 10_000,
      what: `${name} is ready`,
    });
    return { process, proxy, upstream };
  }

  /** Ends a process; one that ends without this fails `untilAtRest`. */
  async end(member: Member, signal: NodeJS.Signals): Promise<number | null> {
    this.#ended.add(member.process);
    return member.process.stop(signal);
  }

  /** The same process again, with the same network and upstream. */
  restart({ process, proxy, upstream }: Member): Member {
    const again = this.stack.start(process.name, {
      ...(proxy ? { REDIS_URL: `redis://127.0.0.1:${proxy.port}` } : {}),
      ...(upstream ? { OPENAI_BASE_URL: upstream.baseUrl } : {}),
    });
    return { process: again, proxy, upstream };
  }

  /** For a member that was started again. */
  async untilReady({ process }: Member): Promise<void> {
    await until(() => process.output().includes('"ready"'), { timeoutMs: 10_000 });
  }

  /** As `npm start` does: again and again, until it starts (Redis may be away). */
  async revive(member: Member): Promise<Member> {
    for (;;) {
      const again = this.restart(member);
      const { child, output } = again.process;
      await until(() => output().includes('"ready"') || child.exitCode !== null, {
        timeoutMs: 10_000,
        what: `${member.process.name} starts`,
      });
      if (child.exitCode === null) return again;
      this.#ended.add(again.process);
    }
  }

  chat(options: AskOptions = {}): Promise<SeenAnswer> {
    return ask(`${this.baseUrl}/chat/completions`, options);
  }

  /** The llm-worker whose upstream is asked. */
  async busy(): Promise<Member> {
    return until(() => this.llm.find(({ upstream }) => (upstream?.activeRequests() ?? 0) > 0), {
      what: 'a worker that asks its upstream',
    });
  }

  scriptAll(script: Parameters<OpenAIServer['script']>[0]): void {
    for (const upstream of this.upstreams) upstream.script(script);
  }

  calls(path = '/chat/completions'): number {
    return [...new Set(this.upstreams)].reduce(
      (sum, upstream) => sum + upstream.requestsTo(path).length,
      0,
    );
  }

  /** What must hold after every test: see `untilAtRest` of at-rest.ts. */
  untilAtRest(): Promise<void> {
    const { redis, upstreams, stack } = this;
    return untilAtRest({ redis, upstreams, processes: stack.processes, ended: this.#ended });
  }

  async close(): Promise<void> {
    this.redis.disconnect();
    await this.stack.close();
    for (const close of this.#closers) await close();
  }
}

/** Milliseconds with the factor that every upper bound has. */
export const within = (ms: number): number => ms * PATIENCE;

/** What a long test measured, for the run's output. */
export function measured(id: string, what: string): void {
  console.info(`${id}: ${what}`);
}
