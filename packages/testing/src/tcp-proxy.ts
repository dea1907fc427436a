import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

/** What happens to bytes on their way; both ways unless told. */
export type ProxyMode =
  /** They pass. */
  | { type: 'pass' }
  /** They are held back without any word of it, and pass when the mode changes: a dead network. */
  | { type: 'blackhole' }
  /** Every piece comes so much later; the order stays. */
  | { type: 'latency'; ms: number }
  /** Only answers are held back: what is asked arrives and is done, and nobody hears of it. */
  | { type: 'half-open' };

/** One client's connection through the proxy. */
export interface ProxyConnection {
  /** Both sides see a reset. */
  reset(): void;
  setMode(mode: ProxyMode): void;
  /** Resets when so many bytes more have gone to the client; those are delivered. */
  cutAfter(bytes: number): void;
}

/** A TCP proxy on loopback whose connections fail on demand. */
export interface TcpProxy {
  readonly port: number;
  connections(): ProxyConnection[];
  resetAll(): void;
  /** Those that are open are dead for good, without a word to either side; later ones pass. */
  loseAll(): void;
  /** Of every connection, and of those to come. */
  setMode(mode: ProxyMode): void;
  /** New connections are reset at once, until told otherwise. */
  refuse(refusing: boolean): void;
  close(): Promise<void>;
}

export async function startTcpProxy(targetPort: number): Promise<TcpProxy> {
  const links = new Set<Link>();
  let mode: ProxyMode = { type: 'pass' };
  let refusing = false;
  const server = createServer({ allowHalfOpen: true }, (client) => {
    if (refusing) {
      client.on('error', () => undefined);
      client.resetAndDestroy();
      return;
    }
    const target = connect({ port: targetPort, host: '127.0.0.1', allowHalfOpen: true });
    const link = new Link(client, target, () => links.delete(link));
    link.setMode(mode);
    links.add(link);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    connections: () => [...links],
    resetAll() {
      for (const link of links) link.reset();
    },
    loseAll() {
      for (const link of links) link.lose();
    },
    setMode(next) {
      mode = next;
      for (const link of links) link.setMode(next);
    },
    refuse(next) {
      refusing = next;
    },
    async close() {
      const closed = once(server, 'close');
      server.close();
      for (const link of links) link.reset();
      await closed;
    },
  };
}

/** Both halves of one connection. */
class Link implements ProxyConnection {
  readonly #sides: readonly [client: Socket, target: Socket];
  readonly #pipes: readonly [asked: Pipe, answered: Pipe];

  constructor(client: Socket, target: Socket, onClose: () => void) {
    this.#sides = [client, target];
    this.#pipes = [new Pipe(client, target), new Pipe(target, client)];
    for (const side of this.#sides) {
      side.setNoDelay(true);
      side.on('error', () => undefined);
      side.once('close', () => {
        if (this.#sides.every(({ closed }) => closed)) onClose();
        this.#closeSoon();
      });
    }
  }

  reset(): void {
    for (const side of this.#sides) side.resetAndDestroy();
  }

  /** As when its host died, or a NAT on the way forgot it. */
  lose(): void {
    for (const pipe of this.#pipes) pipe.lose();
  }

  setMode(mode: ProxyMode): void {
    const [asked, answered] = this.#pipes;
    asked.setMode(mode.type === 'half-open' ? { type: 'pass' } : mode);
    answered.setMode(mode.type === 'half-open' ? { type: 'blackhole' } : mode);
  }

  cutAfter(bytes: number): void {
    this.#pipes[1].cutAfter(bytes, () => this.reset());
  }

  /** One side broke: in a dead network the other one does not hear of that. */
  #closeSoon(): void {
    for (const pipe of this.#pipes) pipe.break();
  }
}

type PipeMode = Exclude<ProxyMode, { type: 'half-open' }>;

/** One direction. */
class Pipe {
  readonly #from: Socket;
  readonly #to: Socket;
  #mode: PipeMode = { type: 'pass' };
  #held: Buffer[] = [];
  #ended = false;
  #broken = false;
  #lost = false;
  #cut: { left: number; onCut: () => void } | undefined;
  /** Pieces on their way, which later ones may not overtake. */
  #late = Promise.resolve();
  #lateCount = 0;

  constructor(from: Socket, to: Socket) {
    this.#from = from;
    this.#to = to;
    from.on('data', (piece: Buffer) => this.#take(piece));
    from.on('end', () => {
      this.#ended = true;
      this.#flush();
    });
  }

  setMode(mode: PipeMode): void {
    this.#mode = mode;
    this.#flush();
  }

  cutAfter(bytes: number, onCut: () => void): void {
    this.#cut = { left: bytes, onCut };
  }

  lose(): void {
    this.#lost = true;
    this.#held = [];
  }

  break(): void {
    this.#broken = true;
    this.#flush();
  }

  #take(piece: Buffer): void {
    if (this.#lost) return;
    this.#held.push(piece);
    this.#flush();
  }

  #flush(): void {
    if (this.#lost || this.#mode.type === 'blackhole') return;
    const pieces = this.#held.splice(0);
    const { ms } = this.#mode.type === 'latency' ? this.#mode : { ms: 0 };
    const send = () => {
      if (this.#lost) return;
      for (const piece of pieces) this.#send(piece);
      if (this.#broken) this.#to.destroySoon();
      else if (this.#ended) this.#to.end();
    };
    if (ms === 0 && this.#lateCount === 0) {
      send();
      return;
    }
    this.#lateCount += 1;
    this.#late = this.#sendLate(this.#late, ms, send);
  }

  async #sendLate(earlier: Promise<void>, ms: number, send: () => void): Promise<void> {
    await Promise.all([earlier, delay(ms)]);
    this.#lateCount -= 1;
    send();
  }

  #send(piece: Buffer): void {
    if (this.#to.destroyed) return;
    const cut = this.#cut;
    if (cut && piece.byteLength >= cut.left) {
      this.#cut = undefined;
      // The last bytes leave before the reset, which would overtake them.
      this.#to.write(piece.subarray(0, cut.left), () => setImmediate(cut.onCut));
      return;
    }
    if (cut) cut.left -= piece.byteLength;
    // As a network does: who reads slowly slows the sender down.
    if (this.#to.write(piece) || this.#from.isPaused()) return;
    this.#from.pause();
    this.#to.once('drain', () => this.#from.resume());
  }
}
