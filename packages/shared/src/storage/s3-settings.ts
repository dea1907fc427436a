import { ConfigError } from '../runtime/load-config.ts';

/** What `commonConfig` has of S3. */
export interface S3Config {
  S3_ENDPOINT?: string | undefined;
  S3_REGION: string;
  S3_BUCKET?: string | undefined;
  S3_ACCESS_KEY_ID?: string | undefined;
  S3_SECRET_ACCESS_KEY?: string | undefined;
  S3_PREFIX: string;
  S3_FORCE_PATH_STYLE: boolean;
}

export interface S3Settings {
  /** Undefined: that of AWS for the region. */
  endpoint: string | undefined;
  region: string;
  bucket: string;
  accessKeyId: string;
  secretAccessKey: string;
  /** Empty, or ends in a slash. */
  prefix: string;
  /** The bucket stands in the path instead of in the name of the host. */
  forcePathStyle: boolean;
}

/** Undefined where S3 is not wanted. Throws a ConfigError that names what lacks where it is wanted by halves. */
export function readS3Settings(config: S3Config): S3Settings | undefined {
  const { S3_BUCKET, S3_ACCESS_KEY_ID, S3_SECRET_ACCESS_KEY, S3_ENDPOINT } = config;
  const needed = { S3_BUCKET, S3_ACCESS_KEY_ID, S3_SECRET_ACCESS_KEY };
  const missing = Object.entries(needed).flatMap(([name, value]) => (value ? [] : [name]));
  if (missing.length === 3 && !S3_ENDPOINT) return undefined;
  if (!S3_BUCKET || !S3_ACCESS_KEY_ID || !S3_SECRET_ACCESS_KEY) {
    throw new ConfigError(missing.map((name) => `${name}: needed because S3_* is set`));
  }
  return {
    endpoint: S3_ENDPOINT,
    region: config.S3_REGION,
    bucket: S3_BUCKET,
    accessKeyId: S3_ACCESS_KEY_ID,
    secretAccessKey: S3_SECRET_ACCESS_KEY,
    prefix: config.S3_PREFIX.replace(/\/*$/, (slashes) =>
      config.S3_PREFIX === slashes ? '' : '/',
    ),
    forcePathStyle: config.S3_FORCE_PATH_STYLE,
  };
}
