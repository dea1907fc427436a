import { timingSafeEqual } from 'node:crypto';
import { readFileSync, unwatchFile, watchFile } from 'node:fs';
import { ConfigError } from '@antiphon/shared/runtime/load-config';
import type { Logger } from '@antiphon/shared/runtime/logger';
import { type ApiKey, KeyFault, digestOf, parseEntry, parseKeyFile } from './key-list.ts';

/** By looking at its time: a mounted secret changes by a symbolic link, which no event tells of. */
const LOOK_MS = 1000;

export interface KeyRingOptions {
  /** Entries of `API_KEYS`. */
  inline: readonly string[];
  /** Path of `API_KEYS_FILE`. */
  file: string | undefined;
  logger: Logger;
}

/** The API keys that are in force. */
export class KeyRing {
  readonly #options: KeyRingOptions;
  readonly #inline: readonly ApiKey[];
  #fromFile: readonly ApiKey[] = [];

  /** Throws ConfigError that names the variable and the entry or line, never a key. */
  constructor(options: KeyRingOptions) {
    this.#options = options;
    const { inline, file } = options;
    this.#inline = inline.map((entry, index) =>
      orConfigError(`API_KEYS: entry ${index + 1}: `, () => parseEntry(entry)),
    );
    this.#warnOfWeak('API_KEYS', this.#inline);
    if (file === undefined) return;
    this.#fromFile = orConfigError('API_KEYS_FILE: ', () => this.#read(file));
    watchFile(file, { interval: LOOK_MS, persistent: false }, this.#readAgain);
  }

  /** Whether nobody needs a key. A file is never without one. */
  get isEmpty(): boolean {
    return this.#inline.length + this.#fromFile.length === 0;
  }

  /** Compares with every key, in constant time, by digest. A key of the file wins over its twin in `API_KEYS`. */
  find(given: string): ApiKey | undefined {
    const digest = digestOf(given);
    let found: ApiKey | undefined;
    for (const key of this.#inline) found = timingSafeEqual(key.digest, digest) ? key : found;
    for (const key of this.#fromFile) found = timingSafeEqual(key.digest, digest) ? key : found;
    return found;
  }

  close(): void {
    if (this.#options.file !== undefined) unwatchFile(this.#options.file, this.#readAgain);
  }

  /** Requests that run are not touched: a key counts when a request comes in. */
  readonly #readAgain = (): void => {
    const { file = '', logger } = this.#options;
    try {
      this.#fromFile = this.#read(file);
      logger.info({ keyCount: this.#fromFile.length }, 'API_KEYS_FILE was read again');
    } catch (error) {
      const reason = faultOf(error);
      logger.warn(`API_KEYS_FILE: ${reason}; the keys that were read before stay in force`);
    }
  };

  #read(file: string): ApiKey[] {
    const keys = parseKeyFile(readFileSync(file, 'utf8'));
    this.#warnOfWeak('API_KEYS_FILE', keys);
    return keys;
  }

  #warnOfWeak(variable: string, keys: readonly ApiKey[]): void {
    const count = keys.filter(({ weak }) => weak).length;
    if (count > 0)
      this.#options.logger.warn(
        `${variable}: ${count} of ${keys.length} keys have fewer than 16 characters and can be guessed`,
      );
  }
}

/** Without the path's contents. */
function faultOf(error: unknown): string {
  if (error instanceof KeyFault) return error.message;
  const { code } = error as NodeJS.ErrnoException;
  return `it cannot be read (${code ?? 'unknown error'})`;
}

function orConfigError<T>(prefix: string, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    throw new ConfigError([`${prefix}${faultOf(error)}`]);
  }
}
