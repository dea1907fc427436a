import type { Context } from 'hono';

/** Bytes of a body, both ends included. */
export interface ByteRange {
  start: number;
  end: number;
}

/**
 * What a `Range` header asks of a body of so many bytes (RFC 9110, section 14): `whole` where there
 * is no header, one that is not understood, or one that asks for several pieces; `none` where the
 * body has nothing of it.
 */
export function chooseRange(
  header: string | undefined,
  totalBytes: number,
): ByteRange | 'whole' | 'none' {
  const [, first = '', last = ''] =
    /^bytes=(\d{0,15})-(\d{0,15})$/i.exec(header?.trim() ?? '') ?? [];
  if (first === '' && last === '') return 'whole';
  if (first === '') {
    const start = Math.max(0, totalBytes - Number(last));
    return start < totalBytes ? { start, end: totalBytes - 1 } : 'none';
  }
  const start = Number(first);
  if (last !== '' && Number(last) < start) return 'whole';
  const end = Math.min(last === '' ? Infinity : Number(last), totalBytes - 1);
  return start < totalBytes ? { start, end } : 'none';
}

/** The `Range` header; undefined where `If-Range` names another body than the one with this tag. */
export function readRange(c: Context, etag: string): string | undefined {
  const condition = c.req.header('if-range');
  return condition === undefined || condition === etag ? c.req.header('range') : undefined;
}
