import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { cpus, release, totalmem, type } from 'node:os';
import { join } from 'node:path';

const REPOSITORY = join(import.meta.dirname, '..', '..');

function packageVersion(folder: string, name: string): string {
  const path = join(REPOSITORY, folder, 'node_modules', name, 'package.json');
  if (!existsSync(path)) return `${name} (not installed)`;
  const { version } = JSON.parse(readFileSync(path, 'utf8')) as { version: string };
  return `${name} ${version}`;
}

function redisVersion(): string {
  for (const command of ['redis-server', 'valkey-server']) {
    try {
      const said = execFileSync(command, ['--version'], { encoding: 'utf8' });
      return `${command} ${/v=(\S+)/.exec(said)?.[1] ?? said.trim()}`;
    } catch {
      // Not installed: the other one may be.
    }
  }
  return 'no Redis';
}

/** Processor, cores, memory, kernel, in a line. */
export function machineDescription(): string {
  const [first] = cpus();
  const memoryGiB = totalmem() / 2 ** 30;
  return `${first?.model.trim() ?? 'unknown processor'}, ${cpus().length} cores, ${memoryGiB.toFixed(1)} GiB, ${type()} ${release()}`;
}

/** Everything whose version moves the figures. */
export function versionsDescription(): string {
  return [
    `node ${process.version}`,
    redisVersion(),
    packageVersion('packages/shared', 'bullmq'),
    packageVersion('packages/shared', 'ioredis'),
    packageVersion('apps/gateway', 'hono'),
    packageVersion('apps/gateway', '@hono/node-server'),
    `${packageVersion('bench/peer', '@portkey-ai/gateway')} (${packageVersion('bench/peer', 'hono')}, ${packageVersion('bench/peer', '@hono/node-server')})`,
  ].join(', ');
}
