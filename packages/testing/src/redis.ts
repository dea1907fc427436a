import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { until } from './until.ts';

export interface RedisServer {
  url: string;
  port: number;
  pid: number;
  /** SIGKILL, as a crash would; `restart` brings it back with what its AOF holds. */
  kill(): Promise<void>;
  restart(): Promise<void>;
  close(): Promise<void>;
}

/** Asks the kernel for a port nobody listens on. */
export async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}

/** A real redis-server of the test's own, on a free port, with AOF in a directory of its own. */
export async function startRedis(extraArguments: string[] = []): Promise<RedisServer> {
  const directory = await mkdtemp(join(tmpdir(), 'antiphon-redis-'));
  const port = await freePort();
  const launch = async () => {
    const child = spawn(
      // It dies with the test, also when that is killed outright.
      'setpriv',
      [
        ...['--pdeathsig', 'KILL', '--', 'redis-server'],
        ...`--port ${port} --bind 127.0.0.1 --appendonly yes --maxmemory-policy noeviction`.split(
          ' ',
        ),
        '--dir',
        directory,
        '--save',
        '',
        ...extraArguments,
      ],
      { stdio: 'ignore' },
    );
    await until(() => answers(port), { what: `redis-server on port ${port}` });
    return child;
  };
  let child = await launch();
  const kill = async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    await exited;
  };
  return {
    url: `redis://127.0.0.1:${port}`,
    port,
    get pid() {
      return child.pid ?? 0;
    },
    kill,
    async restart() {
      child = await launch();
    },
    async close() {
      await kill();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

/** Over a bare socket: a password that this function does not know is an answer as well. */
async function answers(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  try {
    socket.write('PING\r\n');
    const [reply] = (await once(socket, 'data')) as [Buffer];
    return /^(\+PONG|-NOAUTH)/.test(reply.toString());
  } catch {
    return false; // refused: not up yet
  } finally {
    socket.destroy();
  }
}
