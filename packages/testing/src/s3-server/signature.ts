import { createHash, createHmac, type Hash, type Hmac } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { SignatureV4 } from '@smithy/signature-v4';

export interface S3Credentials {
  accessKeyId: string;
  secretAccessKey: string;
}

/** As the signer wants it. */
class Sha256 {
  readonly #hash: Hash | Hmac;

  constructor(secret?: string | ArrayBuffer | ArrayBufferView) {
    this.#hash =
      secret === undefined ? createHash('sha256') : createHmac('sha256', bytesOf(secret));
  }

  update(data: string | ArrayBuffer | ArrayBufferView): void {
    this.#hash.update(bytesOf(data));
  }

  async digest(): Promise<Uint8Array> {
    return this.#hash.digest();
  }

  reset(): void {
    throw new Error('used once');
  }
}

function bytesOf(data: string | ArrayBuffer | ArrayBufferView): Buffer {
  if (typeof data === 'string') return Buffer.from(data);
  if (data instanceof ArrayBuffer) return Buffer.from(data);
  return Buffer.from(data.buffer, data.byteOffset, data.byteLength);
}

const AUTHORIZATION =
  /^AWS4-HMAC-SHA256 Credential=([^/]+)\/\d{8}\/([^/]+)\/s3\/aws4_request, SignedHeaders=([\w;-]+), Signature=[0-9a-f]{64}$/;
/** What must be signed, or anybody on the way may change it. */
const ALWAYS_SIGNED = ['host', 'x-amz-date', 'x-amz-content-sha256'];

/**
 * The code of S3's refusal; undefined where the request is signed as it should be (SigV4 in the
 * `Authorization` header) and has the body that was signed. The SDK's own signer signs it again.
 */
export async function refusal(
  message: IncomingMessage,
  body: Buffer,
  credentials: S3Credentials,
): Promise<string | undefined> {
  const headers = singleHeaders(message);
  const { authorization = '', 'x-amz-date': date = '' } = headers;
  const [, accessKeyId, region = '', names = ''] = AUTHORIZATION.exec(authorization) ?? [];
  if (accessKeyId === undefined) return 'AccessDenied';
  if (accessKeyId !== credentials.accessKeyId) return 'InvalidAccessKeyId';
  const signed = names.split(';');
  if (ALWAYS_SIGNED.some((name) => !signed.includes(name))) return 'AccessDenied';
  const url = new URL(message.url ?? '/', `http://${headers['host']}`);
  const signer = new SignatureV4({
    ...{ credentials, region, service: 's3', sha256: Sha256 },
    ...{ uriEscapePath: false, applyChecksum: false },
  });
  const request = {
    ...{ method: message.method ?? 'GET', protocol: url.protocol, hostname: url.hostname },
    ...{ path: url.pathname, query: Object.fromEntries(url.searchParams) },
    headers: Object.fromEntries(signed.map((name) => [name, headers[name] ?? ''])),
  };
  const again = await signer.sign(request, {
    signingDate: signingDate(date),
    signableHeaders: new Set(signed),
  });
  if (again.headers['authorization'] !== authorization) return 'SignatureDoesNotMatch';
  const hash = createHash('sha256').update(body).digest('hex');
  return headers['x-amz-content-sha256'] === hash ? undefined : 'XAmzContentSHA256Mismatch';
}

/** `20261121T151953Z` */
const signingDate = (date: string): Date =>
  new Date(date.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, '$1-$2-$3T$4:$5:$6Z'));

const singleHeaders = ({ headers }: IncomingMessage): Record<string, string> =>
  Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [
      name,
      Array.isArray(value) ? value.join(',') : (value ?? ''),
    ]),
  );
