import { expect } from 'vitest';

export interface ExpectedError {
  status: number;
  /** `invalid_request_error` unless told. */
  type?: string;
  code: string | null;
  param?: string | null;
  message?: string | RegExp;
}

/** Asserts that an answer is OpenAI's error envelope, to the letter: every key, no other. */
export async function expectError(
  response: Response | undefined,
  { status, type = 'invalid_request_error', code, param = null, message }: ExpectedError,
): Promise<void> {
  if (!response) throw new Error('there is no answer');
  const text = await response.text();
  expect(`${response.status} ${text}`).toMatch(new RegExp(`^${status} `));
  expect(response.headers.get('content-type')).toBe('application/json');
  expect(response.headers.get('x-request-id')).toMatch(/^req_[0-9a-f]{32}$/);
  const body = JSON.parse(text) as { error: { message: string } };
  expect(body).toStrictEqual({ error: { message: expect.any(String), type, param, code } });
  expect(body.error.message).not.toBe('');
  if (typeof message === 'string') expect(body.error.message).toBe(message);
  else if (message) expect(body.error.message).toMatch(message);
}
