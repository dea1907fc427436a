import type { StreamRoute, WatchedStream } from '../replies/watched-stream.ts';
import { type KeyLimits, NO_LIMITS } from './key-list.ts';
import { rateLimited, tooMany } from './limit-reached.ts';
import type { QueueDepths } from './queue-depths.ts';
import type { CounterBound, RateLimits, RateUnit } from './rate-limits.ts';
import type { StreamSlots } from './stream-slots.ts';

/** What a running stream used is told so often. */
const TELL_MS = 1000;
/** Whoever comes back may have left a connection behind that nobody has noticed yet. */
const READERS_PER_STREAM = 2;

export interface Asker {
  tenantId: string;
  limits: KeyLimits;
  requestId: string;
  /** Rejects when the request is one too many; left out where that is known. */
  counted?: Promise<void> | undefined;
}

export interface AskedStream {
  route: StreamRoute;
  opening: { kind: string; speech?: string | undefined };
  /** Of the text that it will speak, where that is known: they are spent when it is let in. */
  characters?: number;
}

/** A stream's leave to be opened. */
export interface Leave {
  /** It was opened: what it uses counts, and its place is free when it is over. */
  bind(streamId: string): void;
  /** The request is over; where no stream was opened, the place is free and nothing was spent. */
  settle(): void;
}

/** A stream of a tenant that has limits. */
interface Admitted extends Asker {
  toldCharacters: number;
  toldSeconds: number;
  /** It was not watched when last looked for. */
  isMissed: boolean;
}

/** What a stream would use of a limit. */
interface WantedUse {
  unit: RateUnit;
  /** 0: none. */
  limit: number;
  /** Where it is known. */
  amount?: number | undefined;
}

export interface StreamAdmissionOptions {
  rates: RateLimits;
  slots: StreamSlots;
  depths: QueueDepths;
  /** What is watched by this gateway. */
  streams: () => Iterable<WatchedStream>;
}

/** Who may open a stream, and what it then uses. */
export class StreamAdmission {
  readonly #options: StreamAdmissionOptions;
  readonly #admitted = new Map<string, Admitted>();
  readonly #timer: NodeJS.Timeout;

  constructor(options: StreamAdmissionOptions) {
    this.#options = options;
    this.#timer = setInterval(() => this.#tick(), TELL_MS);
    this.#timer.unref();
  }

  /**
   * Throws `server_is_overloaded` when a queue is full, `rate_limit_exceeded` when the tenant has all
   * its streams, or has used up what this one would use more of. One round trip for a tenant with
   * limits, in which its request is counted too; one more where characters are spent; none for others.
   */
  async admit(asker: Asker, asked: AskedStream): Promise<Leave> {
    const { tenantId, requestId } = asker;
    const { slots, depths } = this.#options;
    const entered = depths.enter(Object.values(asked.route.queues));
    try {
      await this.#admit(asker, asked);
      await this.#spend(asker, asked);
    } catch (error) {
      entered();
      slots.free(tenantId, requestId);
      throw error;
    }
    let bound = false;
    return {
      bind: (streamId) => {
        bound = true;
        entered();
        this.#admitted.set(streamId, {
          ...asker,
          ...{ toldCharacters: 0, toldSeconds: 0, isMissed: false },
        });
      },
      settle: () => {
        entered();
        if (bound) return;
        slots.free(tenantId, requestId);
        void this.#giveBack(asker, asked);
      },
    };
  }

  /** All at once; a place that is refused for another reason is not taken, not even for a moment. */
  async #admit(asker: Asker, { route, opening, characters }: AskedStream): Promise<void> {
    const { tenantId, limits, requestId, counted } = asker;
    const { rates, slots } = this.#options;
    const speaks = characters !== undefined || (opening.kind === 'chat' && opening.speech);
    // Where the amount is not known yet, a last one must be left.
    const wanted: WantedUse[] = [
      { unit: 'characters', limit: speaks ? limits.charactersPerMinute : 0, amount: characters },
      { unit: 'audio-seconds', limit: route.queues.stt ? limits.audioSecondsPerMinute : 0 },
    ];
    const limited = wanted.filter(({ limit }) => limit > 0);
    const bounds = limited.map(({ unit, limit, amount = 1 }) =>
      rates.bound(unit, tenantId, limit - amount),
    );
    if (counted) bounds.push(rates.bound('requests', tenantId, limits.requestsPerMinute));
    const take = (within: CounterBound[]) =>
      limits.streams === 0 || slots.take(tenantId, requestId, limits.streams, within);
    const place = take(bounds);
    await settled([place, counted, ...limited.map((use) => this.#look(tenantId, use))]);
    // It was its own request that was allowed last: a later one went beyond the bound.
    if (!((await place) ?? (await take([])))) throw tooMany('streams', limits.streams);
  }

  async #look(tenantId: string, { unit, limit, amount }: WantedUse): Promise<void> {
    const usage = await this.#options.rates.look(unit, tenantId, limit);
    if (usage.used + (amount ?? 1) > limit) throw rateLimited(unit, usage, amount);
  }

  /** Behind its place: who is refused one has spent nothing. */
  async #spend({ tenantId, limits }: Asker, { characters = 0 }: AskedStream): Promise<void> {
    const { charactersPerMinute: limit } = limits;
    if (limit > 0 && characters > 0)
      await this.#options.rates.spend('characters', tenantId, characters, limit);
  }

  /** It was let in, and could not be opened. */
  async #giveBack({ tenantId, limits }: Asker, { characters = 0 }: AskedStream): Promise<void> {
    if (limits.charactersPerMinute > 0 && characters > 0)
      await this.#options.rates.giveBack('characters', tenantId, characters);
  }

  /**
   * Leave to read streams again, to be given back: what an answer costs here, encoding it costs again.
   * Throws `rate_limit_exceeded`.
   */
  async admitReader({ tenantId, limits, requestId }: Asker): Promise<() => void> {
    if (limits.streams === 0) return () => undefined;
    const { slots } = this.#options;
    const limit = limits.streams * READERS_PER_STREAM;
    const readers = `${tenantId}:readers`; // no name of a tenant has a colon
    if (!(await slots.take(readers, requestId, limit))) throw tooMany('readers', limit);
    return () => slots.free(readers, requestId);
  }

  /**
   * A stream of a gateway that died goes on here, and has a place like any other. What it uses is not
   * counted: how much of that was, nobody knows.
   */
  async adopt(streamId: string, tenantId: string): Promise<void> {
    this.#admitted.set(streamId, {
      ...{ tenantId, limits: NO_LIMITS, requestId: streamId },
      ...{ toldCharacters: 0, toldSeconds: 0, isMissed: false },
    });
    await this.#options.slots.hold(tenantId, streamId);
  }

  /** Told of each stream that is not watched any more. A kept one goes on without its client's reader. */
  over(stream: WatchedStream): void {
    this.#tell(stream);
    if (stream.role === 'follower') return;
    this.#release(stream.reader.streamId);
  }

  close(): void {
    clearInterval(this.#timer);
    this.#options.slots.close();
  }

  #release(streamId: string): void {
    const admitted = this.#admitted.get(streamId);
    if (!admitted) return;
    this.#admitted.delete(streamId);
    this.#options.slots.free(admitted.tenantId, admitted.requestId);
  }

  #tick(): void {
    if (this.#admitted.size === 0) return;
    const watched = new Set<string>();
    for (const stream of this.#options.streams()) {
      this.#tell(stream);
      watched.add(stream.reader.streamId);
    }
    for (const [streamId, admitted] of this.#admitted) {
      // A kept stream may be over before its client's reply begins.
      if (watched.has(streamId)) continue;
      if (admitted.isMissed) this.#release(streamId);
      admitted.isMissed = true;
    }
  }

  /** Counts what the stream has used since the last time. */
  #tell({ reader, tally }: WatchedStream): void {
    const admitted = this.#admitted.get(reader.streamId);
    if (!admitted) return;
    const { tenantId, limits, toldCharacters, toldSeconds } = admitted;
    // Two readers of one stream count the same.
    const characters = Math.max(0, tally.phraseCharacters - toldCharacters);
    const seconds = Math.max(0, Math.ceil(tally.heardSeconds) - toldSeconds);
    admitted.toldCharacters += characters;
    admitted.toldSeconds += seconds;
    const { rates } = this.#options;
    if (characters > 0 && limits.charactersPerMinute > 0)
      void rates.use('characters', tenantId, characters, limits.charactersPerMinute);
    if (seconds > 0 && limits.audioSecondsPerMinute > 0)
      void rates.use('audio-seconds', tenantId, seconds, limits.audioSecondsPerMinute);
  }
}

/** Waits for all, that nothing is done behind a refusal; then throws the first. */
async function settled(promises: unknown[]): Promise<void> {
  const refused = (await Promise.allSettled(promises)).find(({ status }) => status === 'rejected');
  if (refused?.status === 'rejected') throw refused.reason;
}
