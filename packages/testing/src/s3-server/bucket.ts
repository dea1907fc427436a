import { createHash, randomUUID } from 'node:crypto';

/** Of a part that is not the last one. */
const MIN_PART_BYTES = 5 * 1024 * 1024;

export interface S3Object {
  bytes: Buffer;
  modifiedMs: number;
}

interface S3Upload {
  key: string;
  initiatedMs: number;
  parts: Map<number, Buffer>;
}

/** The code of one of S3's errors. */
export class S3Fault extends Error {
  readonly code: string;
  readonly status: number;

  constructor(status: number, code: string) {
    super(code);
    this.code = code;
    this.status = status;
  }
}

export const etagOf = (bytes: Buffer): string =>
  `"${createHash('md5').update(bytes).digest('hex')}"`;

/** What a bucket holds: objects, and uploads that nobody has ended yet. */
export class S3Bucket {
  readonly objects = new Map<string, S3Object>();
  readonly uploads = new Map<string, S3Upload>();

  put(key: string, bytes: Buffer): void {
    this.objects.set(key, { bytes, modifiedMs: Date.now() });
  }

  begin(key: string): string {
    const uploadId = randomUUID();
    this.uploads.set(uploadId, { key, initiatedMs: Date.now(), parts: new Map() });
    return uploadId;
  }

  upload(uploadId: string, key: string): S3Upload {
    const upload = this.uploads.get(uploadId);
    if (upload?.key !== key) throw new S3Fault(404, 'NoSuchUpload');
    return upload;
  }

  /** `parts`: number and tag of each, as they are to be put together. */
  complete(uploadId: string, key: string, parts: [number, string][]): string {
    const upload = this.upload(uploadId, key);
    const pieces = parts.map(([number, etag], index) => {
      const bytes = upload.parts.get(number);
      if (!bytes || etagOf(bytes) !== etag) throw new S3Fault(400, 'InvalidPart');
      const [before = 0] = parts[index - 1] ?? [];
      if (number <= before) throw new S3Fault(400, 'InvalidPartOrder');
      const isLast = index === parts.length - 1;
      if (!isLast && bytes.length < MIN_PART_BYTES) throw new S3Fault(400, 'EntityTooSmall');
      return bytes;
    });
    if (pieces.length === 0) throw new S3Fault(400, 'MalformedXML');
    const whole = Buffer.concat(pieces);
    this.put(key, whole);
    this.uploads.delete(uploadId);
    return etagOf(whole);
  }

  /** Keys behind `after`, in S3's order. */
  keys(prefix: string, after: string): string[] {
    return [...this.objects.keys()].filter((key) => key.startsWith(prefix) && key > after).sort();
  }
}
