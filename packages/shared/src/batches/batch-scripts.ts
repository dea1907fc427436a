import { readFileSync } from 'node:fs';
import type { Redis } from 'ioredis';
import { ADD_FILE_LUA } from '../files/file-index.ts';
import type { BatchStatus } from './batch-record.ts';

export type Argument = string | number;

export interface ScriptedBatches extends Redis {
  antiphonCreateBatch(...keysAndValues: Argument[]): Promise<'created' | 'known' | 'many'>;
  antiphonMoveBatch(...keysAndValues: Argument[]): Promise<BatchStatus | 'gone'>;
  antiphonEndBatch(keyCount: number, ...keysAndValues: Argument[]): Promise<BatchStatus | 'gone'>;
  antiphonRecordLine(
    keyCount: number,
    ...keysAndValues: Argument[]
  ): Promise<'recorded' | 'known' | 'closed' | 'gone'>;
}

/** 'some': as many as the caller gives first. Those make files known. */
const KEY_COUNTS = { createBatch: 4, moveBatch: 1, endBatch: 'some', recordLine: 'some' } as const;

/** Defines the scripts on a connection. */
export function defineBatchScripts(redis: Redis): ScriptedBatches {
  for (const [name, numberOfKeys] of Object.entries(KEY_COUNTS)) {
    const command = `antiphon${name.charAt(0).toUpperCase()}${name.slice(1)}`;
    if (command in redis) continue;
    const file = name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
    const lua = readFileSync(new URL(`${file}.lua`, import.meta.url), 'utf8');
    if (numberOfKeys === 'some') redis.defineCommand(command, { lua: `${ADD_FILE_LUA}${lua}` });
    else redis.defineCommand(command, { numberOfKeys, lua });
  }
  return redis as ScriptedBatches;
}
