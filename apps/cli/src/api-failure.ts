import { APIConnectionError, APIError, APIUserAbortError } from 'openai';
import { CliError } from './cli-error.ts';

/** The stream or body came to an end that is none. */
export class BrokenAnswer extends Error {}

const MAX_MESSAGE_CHARACTERS = 1000;
/** Of our own disk, while an answer is saved. */
const DISK_CODES = ['ENOSPC', 'EDQUOT', 'EFBIG', 'EIO', 'EROFS'];

/** Whether the work was stopped from here, by Ctrl-C or by its end. */
export function isAbort(thrown: unknown): boolean {
  return (
    thrown instanceof APIUserAbortError || (thrown instanceof Error && thrown.name === 'AbortError')
  );
}

/** Any failure of a call to the server as one line with what to do. Keys are not in it. */
export function describeApiFailure(thrown: unknown, baseUrl: string): CliError {
  if (thrown instanceof CliError) return thrown;
  if (thrown instanceof APIConnectionError) return unreachable(thrown, baseUrl);
  if (thrown instanceof APIError && thrown.status !== undefined) {
    return refusal(thrown as APIError<number>, baseUrl);
  }
  if (thrown instanceof APIError) {
    // An error frame inside a stream has no status.
    const told = messageOf(thrown);
    return new CliError(`the answer broke off: ${told}`, 'ask again', { cause: thrown });
  }
  if (thrown instanceof BrokenAnswer) {
    return new CliError(thrown.message, `ask again, or see the log of the server at ${baseUrl}`);
  }
  if (thrown instanceof SyntaxError) {
    const what = 'the server sent something that is not an answer';
    return new CliError(what, `check that ${baseUrl} is the base URL of the API, with its /v1`);
  }
  const codes = causeCodes(thrown);
  if (codes.some((code) => DISK_CODES.includes(code))) {
    return new CliError(`the file cannot be written (${codes[0]})`, 'make room, or save elsewhere');
  }
  if (codes.length > 0 || (thrown instanceof TypeError && thrown.message === 'terminated')) {
    const told = codes[0] === undefined ? '' : ` (${codes[0]})`;
    return new CliError(`the connection broke off in the middle of the answer${told}`, 'ask again');
  }
  const text = thrown instanceof Error ? thrown.message : String(thrown);
  return new CliError(text, 'ask again', { cause: thrown });
}

function unreachable(thrown: APIConnectionError, baseUrl: string): CliError {
  const code = causeCodes(thrown)[0];
  const why = code === undefined ? '' : ` (${code})`;
  return new CliError(
    `no server answers at ${baseUrl}${why}`,
    'start one by `npm start`, or name another by --base-url or OPENAI_BASE_URL',
    { cause: thrown },
  );
}

function refusal(thrown: APIError<number>, baseUrl: string): CliError {
  const told = messageOf(thrown);
  const { status, requestID } = thrown;
  const line = (what: string, advice: string): CliError =>
    new CliError(what, advice, { cause: thrown });
  if (status === 401 || status === 403) {
    const what = `the server at ${baseUrl} refused the key (${status})`;
    return line(what, 'set OPENAI_API_KEY or give --api-key');
  }
  if (status === 404) return notFound(told, thrown, baseUrl);
  if (status === 429 || status === 503) {
    const seconds = Number(thrown.headers?.get('retry-after') ?? Number.NaN);
    const when = Number.isFinite(seconds) ? `in ${seconds} s` : 'later';
    return line(`${told} (${status})`, `try again ${when}, or look with doctor`);
  }
  if (status >= 500) {
    const id = requestID ? ` under ${requestID}` : '';
    return line(`${told} (${status})`, `see the server's log${id}`);
  }
  return line(`${told} (${status})`, optionFor(thrown.param));
}

/** A model, a route or something else; not every server names the field. */
function notFound(told: string, thrown: APIError, baseUrl: string): CliError {
  const options = { cause: thrown };
  if (thrown.param || /\bmodel\b/i.test(told)) {
    return new CliError(`${told} (404)`, optionFor(thrown.param ?? 'model'), options);
  }
  const advice = `check that ${baseUrl} is right, with its /v1`;
  return new CliError(`the server has no such route (404): ${told}`, advice, options);
}

/** Which of our options sets the field that the server names. */
function optionFor(param: string | null | undefined): string {
  if (param === 'model') return 'name another by --model';
  if (param?.endsWith('voice')) return 'name another by --voice';
  if (param === 'language') return 'name another by --language';
  if (param === 'speed') return 'give another --speed';
  if (param === 'response_format') return 'name another by --format';
  return 'change the request';
}

/** The server's own words; the SDK puts the status before them, and its JSON where it finds none. */
function messageOf(thrown: APIError): string {
  const body: { message?: unknown } | undefined = thrown.error;
  const text = typeof body?.message === 'string' ? body.message : thrown.message;
  return text.slice(0, MAX_MESSAGE_CHARACTERS).replace(/[\s.]+$/, '');
}

/** `ECONNREFUSED` and the like, from the innermost cause outwards as far as there are any. */
function causeCodes(thrown: unknown): string[] {
  const codes: string[] = [];
  let cause = thrown;
  for (let depth = 0; cause instanceof Error && depth < 10; depth += 1) {
    const { code } = cause as NodeJS.ErrnoException;
    if (typeof code === 'string') codes.push(code);
    const inner: unknown = cause instanceof AggregateError ? cause.errors[0] : undefined;
    cause = inner ?? cause.cause;
  }
  return codes;
}
