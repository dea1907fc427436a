import { readFileSync } from 'node:fs';
import type { Redis } from 'ioredis';

type Argument = string | number | Buffer;

/** The Lua scripts as methods; ioredis sends EVALSHA and falls back to EVAL. */
interface StreamScripts {
  antiphonOpen(state: string, ...values: Argument[]): Promise<number>;
  antiphonWait(state: string, ...values: Argument[]): Promise<number>;
  antiphonRelease(state: string): Promise<(string | number)[]>;
  antiphonClaim(
    state: string,
    log: string,
    ...values: Argument[]
  ): Promise<[string, number, number, number]>;
  antiphonAppend(state: string, log: string, ...values: Argument[]): Promise<[string, number]>;
  antiphonFinish(state: string, log: string, ...values: Argument[]): Promise<[number, string]>;
  antiphonDrop(state: string, log: string, ...values: Argument[]): Promise<[number, string]>;
  antiphonAnnotate(state: string, ...values: Argument[]): Promise<number>;
  antiphonTrack(streams: string, ...values: Argument[]): Promise<number>;
  antiphonKeep(kept: string, ...streamIds: Argument[]): Promise<number>;
  antiphonAdopt(kept: string, ...values: Argument[]): Promise<string[]>;
  antiphonFree(key: string, streamId: string): Promise<number>;
  antiphonHold(key: string, ...values: Argument[]): Promise<number>;
  antiphonAcknowledge(state: string, log: string, ...values: Argument[]): Promise<string>;
}

const KEY_COUNTS = {
  open: 1,
  wait: 1,
  release: 1,
  claim: 2,
  append: 2,
  finish: 2,
  drop: 2,
  annotate: 1,
  track: 1,
  acknowledge: 2,
  keep: 1,
  adopt: 1,
  free: 1,
  hold: 1,
};

export type ScriptedRedis = Redis & StreamScripts;

/** Defines the scripts on a connection. */
export function defineStreamScripts(redis: Redis): ScriptedRedis {
  for (const [name, numberOfKeys] of Object.entries(KEY_COUNTS)) {
    const lua = readFileSync(new URL(`${name}.lua`, import.meta.url), 'utf8');
    const command = `antiphon${name.charAt(0).toUpperCase()}${name.slice(1)}`;
    if (!(command in redis)) redis.defineCommand(command, { numberOfKeys, lua });
  }
  return redis as ScriptedRedis;
}
