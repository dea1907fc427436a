import type { IncomingMessage, ServerResponse } from 'node:http';
import { type S3Bucket, S3Fault, etagOf } from './bucket.ts';

export interface S3Request {
  bucket: S3Bucket;
  bucketName: string;
  /** Empty: the bucket itself. */
  key: string;
  method: string;
  query: URLSearchParams;
  headers: IncomingMessage['headers'];
  body: Buffer;
  /** Most keys of one page of a list. */
  pageSize: number;
}

const XML_MARKS: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };
const escaped = (text: string): string =>
  text.replaceAll(/[&<>"]/g, (mark) => XML_MARKS[mark] ?? '');
const element = (name: string, content: string | number | boolean): string =>
  `<${name}>${content}</${name}>`;
const isoTime = (ms: number): string => new Date(ms).toISOString();

function sendXml(response: ServerResponse, root: string, content: string): void {
  const xml = `<?xml version="1.0" encoding="UTF-8"?>\n<${root} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">${content}</${root}>`;
  response.writeHead(200, { 'content-type': 'application/xml' }).end(xml);
}

export function sendFault(response: ServerResponse, { status, code }: S3Fault): void {
  const xml = `<?xml version="1.0" encoding="UTF-8"?>\n<Error>${element('Code', code)}${element('Message', code)}</Error>`;
  response.writeHead(status, { 'content-type': 'application/xml' }).end(xml);
}

/** Answers what this project asks of S3; anything else is 501. Throws an S3Fault. */
export function answer(request: S3Request, response: ServerResponse): void {
  const { key, method, query } = request;
  if (key === '') return answerBucket(request, response);
  if (query.has('uploadId')) return answerUpload(request, response);
  if (method === 'POST' && query.has('uploads')) return beginUpload(request, response);
  if (method === 'PUT') return putObject(request, response);
  if (method === 'GET') return getObject(request, response);
  if (method === 'DELETE') {
    request.bucket.objects.delete(key);
    response.writeHead(204).end();
    return;
  }
  throw new S3Fault(501, 'NotImplemented');
}

function answerBucket(request: S3Request, response: ServerResponse): void {
  const { method, query } = request;
  if (method === 'HEAD') response.writeHead(200).end();
  else if (method === 'GET' && query.get('list-type') === '2') listObjects(request, response);
  else if (method === 'GET' && query.has('uploads')) listUploads(request, response);
  else throw new S3Fault(501, 'NotImplemented');
}

function listObjects({ bucket, query, pageSize }: S3Request, response: ServerResponse): void {
  const prefix = query.get('prefix') ?? '';
  // What the token says is S3's own business.
  const after = Buffer.from(query.get('continuation-token') ?? '', 'base64url').toString();
  const keys = bucket.keys(prefix, after);
  const page = keys.slice(0, pageSize);
  const contents = page.map((key) => {
    const { bytes, modifiedMs } = bucket.objects.get(key) ?? {
      bytes: Buffer.alloc(0),
      modifiedMs: 0,
    };
    return element(
      'Contents',
      element('Key', escaped(key)) +
        element('LastModified', isoTime(modifiedMs)) +
        element('ETag', escaped(etagOf(bytes))) +
        element('Size', bytes.length),
    );
  });
  const isTruncated = keys.length > page.length;
  const next = Buffer.from(page.at(-1) ?? '').toString('base64url');
  sendXml(
    response,
    'ListBucketResult',
    element('Prefix', escaped(prefix)) +
      element('KeyCount', page.length) +
      element('IsTruncated', isTruncated) +
      (isTruncated ? element('NextContinuationToken', next) : '') +
      contents.join(''),
  );
}

function listUploads({ bucket, query }: S3Request, response: ServerResponse): void {
  const prefix = query.get('prefix') ?? '';
  const uploads = [...bucket.uploads].filter(([, { key }]) => key.startsWith(prefix));
  const contents = uploads.map(([uploadId, { key, initiatedMs }]) =>
    element(
      'Upload',
      element('Key', escaped(key)) +
        element('UploadId', uploadId) +
        element('Initiated', isoTime(initiatedMs)),
    ),
  );
  sendXml(
    response,
    'ListMultipartUploadsResult',
    element('IsTruncated', false) + contents.join(''),
  );
}

function putObject({ bucket, key, body }: S3Request, response: ServerResponse): void {
  bucket.put(key, body);
  response.writeHead(200, { etag: etagOf(body) }).end();
}

function getObject({ bucket, key, headers }: S3Request, response: ServerResponse): void {
  const object = bucket.objects.get(key);
  if (!object) throw new S3Fault(404, 'NoSuchKey');
  const { bytes, modifiedMs } = object;
  const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(headers.range ?? '') ?? [];
  const start = Number(first ?? 0);
  const end = Math.min(Number(last ?? Infinity), bytes.length - 1);
  if (first !== undefined && start > end) throw new S3Fault(416, 'InvalidRange');
  const range = { 'content-range': `bytes ${start}-${end}/${bytes.length}` };
  response
    .writeHead(first === undefined ? 200 : 206, {
      'content-length': end - start + 1,
      'last-modified': new Date(modifiedMs).toUTCString(),
      etag: etagOf(bytes),
      ...(first === undefined ? {} : range),
    })
    .end(bytes.subarray(start, end + 1));
}

function beginUpload({ bucket, bucketName, key }: S3Request, response: ServerResponse): void {
  const uploadId = bucket.begin(key);
  sendXml(
    response,
    'InitiateMultipartUploadResult',
    element('Bucket', bucketName) + element('Key', escaped(key)) + element('UploadId', uploadId),
  );
}

function answerUpload(
  { bucket, key, method, query, body }: S3Request,
  response: ServerResponse,
): void {
  const uploadId = query.get('uploadId') ?? '';
  const upload = bucket.upload(uploadId, key);
  if (method === 'PUT') {
    upload.parts.set(Number(query.get('partNumber')), body);
    response.writeHead(200, { etag: etagOf(body) }).end();
  } else if (method === 'DELETE') {
    bucket.uploads.delete(uploadId);
    response.writeHead(204).end();
  } else if (method === 'POST') {
    const etag = bucket.complete(uploadId, key, partsOf(body.toString()));
    sendXml(
      response,
      'CompleteMultipartUploadResult',
      element('Key', escaped(key)) + element('ETag', escaped(etag)),
    );
  } else {
    throw new S3Fault(501, 'NotImplemented');
  }
}

const partsOf = (xml: string): [number, string][] =>
  [...xml.matchAll(/<Part>.*?<\/Part>/gs)].map(([part]) => [
    Number(/<PartNumber>(\d+)</.exec(part)?.[1]),
    (/<ETag>(.*?)<\/ETag>/.exec(part)?.[1] ?? '').replaceAll('&quot;', '"'),
  ]);
