import { randomUUID } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import {
  AbortMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadBucketCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  S3Client,
} from '@aws-sdk/client-s3';
import { Upload } from '@aws-sdk/lib-storage';
import { VoiceError } from '../errors/voice-error.ts';
import {
  BLOB_ID,
  type BlobRange,
  type BlobStore,
  type IsKept,
  type LocalBlob,
} from './blob-store.ts';
import type { S3Settings } from './s3-settings.ts';

export interface S3BlobStoreOptions {
  settings: S3Settings;
  /** In front of each key: `blobs/`. */
  folder: string;
  /** Of this machine, for the copies that programs need. */
  localDirectory: string;
}

/**
 * Parts of an upload whose length nobody knows; S3 takes 10,000 of them. One after the other: what
 * is in memory is one part and the pieces of the next, and when one fails nothing is on its way
 * that would come behind the end of the upload.
 */
const PART_BYTES = 8 * 1024 * 1024;
const CONNECT_TIMEOUT_MS = 10_000;
/** Without a byte; a client that reads slowly is cut after WRITE_STALL_TIMEOUT_MS. */
const IDLE_TIMEOUT_MS = 60_000;

/** Blobs as objects of a bucket. Throws an error with the variable's name when that cannot be used. */
export async function openS3BlobStore(options: S3BlobStoreOptions): Promise<BlobStore> {
  const { bucket: Bucket } = options.settings;
  const client = createClient(options.settings);
  try {
    await client.send(new HeadBucketCommand({ Bucket }));
  } catch (error) {
    client.destroy();
    throw new Error(`S3_BUCKET: ${Bucket} cannot be used (${describeFault(error)})`, {
      cause: error,
    });
  }
  return new S3BlobStore(client, options);
}

function createClient(settings: S3Settings): S3Client {
  const { region, endpoint, forcePathStyle, accessKeyId, secretAccessKey } = settings;
  return new S3Client({
    ...{ region, forcePathStyle },
    ...(endpoint === undefined ? {} : { endpoint }),
    credentials: { accessKeyId, secretAccessKey },
    // Many servers that call themselves compatible refuse the checksums that AWS sends by default.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    requestHandler: {
      connectionTimeout: CONNECT_TIMEOUT_MS,
      socketTimeout: IDLE_TIMEOUT_MS,
      httpAgent: { maxSockets: 200 },
      httpsAgent: { maxSockets: 200 },
    },
  });
}

class S3BlobStore implements BlobStore {
  readonly #client: S3Client;
  readonly #bucket: string;
  readonly #prefix: string;
  readonly #localDirectory: string;

  constructor(client: S3Client, { settings, folder, localDirectory }: S3BlobStoreOptions) {
    this.#client = client;
    this.#bucket = settings.bucket;
    this.#prefix = `${settings.prefix}${folder}`;
    this.#localDirectory = localDirectory;
  }

  async put(source: Readable, blobId: string = randomUUID()) {
    if (!BLOB_ID.test(blobId)) throw new Error(`not a blob id: ${blobId}`);
    let sizeBytes = 0;
    let sourceFault: { error: unknown } | undefined;
    const counted = async function* (): AsyncGenerator<Uint8Array> {
      try {
        for await (const part of source as AsyncIterable<Uint8Array | string>) {
          const bytes = typeof part === 'string' ? Buffer.from(part) : part;
          sizeBytes += bytes.byteLength;
          yield bytes;
        }
      } catch (error) {
        sourceFault = { error };
        throw error;
      }
    };
    const upload = new Upload({
      client: this.#client,
      params: { ...this.#object(blobId), Body: Readable.from(counted(), { objectMode: false }) },
      queueSize: 1,
      partSize: PART_BYTES,
    });
    try {
      await upload.done();
    } catch (error) {
      throw sourceFault ? sourceFault.error : storageFault(error);
    }
    return { blobId, sizeBytes };
  }

  async get(blobId: string, range?: BlobRange): Promise<Readable | undefined> {
    if (!BLOB_ID.test(blobId)) return undefined;
    const part = range ? { Range: `bytes=${range.start}-${range.end}` } : {};
    try {
      const { Body } = await this.#client.send(
        new GetObjectCommand({ ...this.#object(blobId), ...part }),
      );
      return Body as Readable;
    } catch (error) {
      if (statusOf(error) === 404) return undefined;
      throw storageFault(error);
    }
  }

  async local(blobId: string): Promise<LocalBlob | undefined> {
    const content = await this.get(blobId);
    if (!content) return undefined;
    await mkdir(this.#localDirectory, { recursive: true, mode: 0o700 });
    const path = join(this.#localDirectory, `${blobId}.${randomUUID()}`);
    const release = () => rm(path, { force: true });
    try {
      await pipeline(content, createWriteStream(path, { mode: 0o600 }));
    } catch (error) {
      await release();
      throw storageFault(error);
    }
    return { path, release };
  }

  async delete(blobId: string): Promise<void> {
    if (!BLOB_ID.test(blobId)) return;
    await this.#client.send(new DeleteObjectCommand(this.#object(blobId))).catch(throwFault);
  }

  async sweep(ageMs: number, isKept?: IsKept): Promise<number> {
    const before = Date.now() - ageMs;
    let count = 0;
    let ContinuationToken: string | undefined;
    do {
      const page = await this.#client
        .send(
          new ListObjectsV2Command({
            ...{ Bucket: this.#bucket, Prefix: this.#prefix },
            ...(ContinuationToken === undefined ? {} : { ContinuationToken }),
          }),
        )
        .catch(throwFault);
      for (const { Key = '', LastModified } of page.Contents ?? []) {
        const blobId = Key.slice(this.#prefix.length);
        if (!LastModified || LastModified.getTime() > before || !BLOB_ID.test(blobId)) continue;
        if (await isKept?.(blobId)) continue;
        await this.delete(blobId);
        count += 1;
      }
      ContinuationToken = page.IsTruncated ? page.NextContinuationToken : undefined;
    } while (ContinuationToken !== undefined);
    await this.#abortUploads(before);
    return count;
  }

  /** What a process that died had begun: nobody sees it, and everybody pays for it. */
  async #abortUploads(before: number): Promise<void> {
    const listed = await this.#client
      .send(new ListMultipartUploadsCommand({ Bucket: this.#bucket, Prefix: this.#prefix }))
      .catch((error: unknown) => {
        if (statusOf(error) !== 501) throw storageFault(error);
        return undefined; // some servers have no such list, and clear away by themselves
      });
    const { Uploads = [] } = listed ?? {};
    for (const { Key, UploadId, Initiated } of Uploads) {
      if (!Initiated || Initiated.getTime() > before) continue;
      await this.#client
        .send(new AbortMultipartUploadCommand({ Bucket: this.#bucket, Key, UploadId }))
        .catch(throwFault);
    }
  }

  #object(blobId: string) {
    return { Bucket: this.#bucket, Key: `${this.#prefix}${blobId}` };
  }
}

const statusOf = (error: unknown): number | undefined =>
  (error as { $metadata?: { httpStatusCode?: number } }).$metadata?.httpStatusCode;

/** Name and status of what went wrong: the SDK's errors hold more than a log should. */
function describeFault(error: unknown): string {
  const { name, message } = error instanceof Error ? error : new Error(String(error));
  const status = statusOf(error);
  return status === undefined ? `${name}: ${message}` : `${name}, HTTP ${status}`;
}

const storageFault = (error: unknown): VoiceError =>
  new VoiceError('storage_unavailable', {
    retryAfterSeconds: 1,
    cause: `S3: ${describeFault(error)}`,
  });

function throwFault(error: unknown): never {
  throw storageFault(error);
}
