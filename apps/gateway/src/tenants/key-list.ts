import { createHash } from 'node:crypto';

/** What one tenant may use; 0: as much as it likes. */
export interface KeyLimits {
  requestsPerMinute: number;
  /** Of text that is spoken. */
  charactersPerMinute: number;
  /** Of recordings that are transcribed. */
  audioSecondsPerMinute: number;
  /** At the same time. */
  streams: number;
}

export const NO_LIMITS: KeyLimits = {
  ...{ requestsPerMinute: 0, charactersPerMinute: 0, audioSecondsPerMinute: 0, streams: 0 },
};

/** One API key, by its digest: the key itself is nowhere kept. */
export interface ApiKey {
  /** SHA-256. */
  digest: Buffer;
  /** Its name's, else its digest's: two keys with one name are one tenant. */
  tenantId: string;
  /** Those that it has of its own. */
  limits: Partial<KeyLimits>;
  /** So short that it can be guessed. */
  weak: boolean;
}

/** What is wrong with a key's entry, without the key. */
export class KeyFault extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'KeyFault';
  }
}

const LEAST_CHARACTERS = 16;
const NAME = /^[a-z0-9][a-z0-9_-]{0,31}$/i;
const DIGEST_MARK = 'sha256';

/** As a key file writes them. */
const LIMIT_NAMES: Record<string, keyof KeyLimits> = {
  'requests-per-minute': 'requestsPerMinute',
  'characters-per-minute': 'charactersPerMinute',
  'audio-seconds-per-minute': 'audioSecondsPerMinute',
  streams: 'streams',
};

export const digestOf = (key: string): Buffer => createHash('sha256').update(key).digest();

/**
 * `[name:]key` or `[name:]sha256:<hex>`. What stands before the first colon is the name, since a
 * Bearer token has no colon (RFC 6750); a key that has one all the same needs a name in front.
 * Throws KeyFault.
 */
export function parseKey(entry: string): ApiKey {
  const { name, secret } = splitName(entry);
  const named = (digest: Buffer) => ({
    digest,
    tenantId: name === undefined ? `key-${digest.toString('hex', 0, 8)}` : `name-${name}`,
    limits: {},
  });
  const hex = splitDigest(secret);
  if (hex !== undefined) return { ...named(Buffer.from(hex, 'hex')), weak: false };
  if (!/^[\x21-\x7e]+$/.test(secret))
    throw new KeyFault('the key must be printable ASCII without blanks');
  return { ...named(digestOf(secret)), weak: secret.length < LEAST_CHARACTERS };
}

function splitName(entry: string): { name: string | undefined; secret: string } {
  const colon = entry.indexOf(':');
  if (colon < 0 || splitDigest(entry) !== undefined) return { name: undefined, secret: entry };
  const name = entry.slice(0, colon);
  if (!NAME.test(name))
    throw new KeyFault(
      'what stands before the colon is no name: 1 to 32 letters, digits, - and _ (a key that has a colon needs a name in front)',
    );
  return { name, secret: entry.slice(colon + 1) };
}

/** The hex digits behind `sha256:`; undefined where that mark is not. */
function splitDigest(secret: string): string | undefined {
  const [mark = '', hex = ''] = secret.split(':', 2);
  if (mark.toLowerCase() !== DIGEST_MARK || !secret.includes(':')) return undefined;
  if (!/^[0-9a-f]{64}$/i.test(hex) || secret.length !== mark.length + 1 + hex.length)
    throw new KeyFault('sha256: must be followed by 64 hex digits');
  return hex;
}

/**
 * A key file: one entry per line as in `API_KEYS`; `#` begins a comment line. Throws KeyFault with
 * the line, also for a file without any key: it would lock everybody out.
 */
export function parseKeyFile(text: string): ApiKey[] {
  const keys = text.split(/\r?\n/).flatMap((line, index) => {
    const content = line.replace(/^\uFEFF/, '').trim();
    if (content === '' || content.startsWith('#')) return [];
    return [atLine(index + 1, () => parseEntry(content))];
  });
  if (keys.length === 0) throw new KeyFault('it has no key');
  const digests = new Set(keys.map(({ digest }) => digest.toString('hex')));
  if (digests.size < keys.length) throw new KeyFault('a key stands in it twice');
  return keys;
}

/**
 * A line of a key file, or an entry of `API_KEYS`: a key, behind it limits of its own, with blanks
 * between (`alice:key streams=4`). Throws KeyFault.
 */
export function parseEntry(entry: string): ApiKey {
  const [secret = '', ...settings] = entry.trim().split(/\s+/);
  const key = parseKey(secret);
  for (const setting of settings) {
    const [name = '', value = ''] = setting.split('=', 2);
    const limit = Object.hasOwn(LIMIT_NAMES, name) ? LIMIT_NAMES[name] : undefined;
    // Not repeated: it may be the key, behind a name with a blank too many.
    if (limit === undefined)
      throw new KeyFault(`unknown limit; known: ${Object.keys(LIMIT_NAMES).join(', ')}`);
    if (!/^\d{1,12}$/.test(value)) throw new KeyFault(`${name} must be a whole number`);
    key.limits[limit] = Number(value);
  }
  return key;
}

function atLine(line: number, parse: () => ApiKey): ApiKey {
  try {
    return parse();
  } catch (error) {
    throw error instanceof KeyFault ? new KeyFault(`line ${line}: ${error.message}`) : error;
  }
}
