import { createHmac } from 'node:crypto';
import type { WebhookEvent } from './webhook-event.ts';

export interface WebhookTarget {
  url: string;
  /** `whsec_` and base64, or the key itself. */
  secret: string;
  /** For the whole exchange. */
  timeoutMs: number;
}

/** Anything else of the receiver's answer than a 2xx, or none. Names neither its URL nor the secret. */
class WebhookRefused extends Error {
  constructor(reason: string) {
    super(`the receiver ${reason}`);
    this.name = 'WebhookRefused';
  }
}

/**
 * Sends one event, signed as Standard Webhooks says, at the time of this attempt: receivers refuse
 * what is older than five minutes. Redirects are not followed. Throws WebhookRefused.
 */
export async function deliverWebhook(
  { url, secret, timeoutMs }: WebhookTarget,
  event: WebhookEvent,
  signal: AbortSignal,
): Promise<void> {
  const body = JSON.stringify(event);
  const timestamp = String(Math.floor(Date.now() / 1000));
  const response = await fetch(url, {
    method: 'POST',
    redirect: 'manual',
    headers: {
      'content-type': 'application/json',
      'user-agent': 'antiphon',
      'webhook-id': event.id,
      'webhook-timestamp': timestamp,
      'webhook-signature': `v1,${sign(secret, `${event.id}.${timestamp}.${body}`)}`,
    },
    body,
    signal: AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]),
  }).catch((error: unknown) => {
    throw new WebhookRefused(failureOf(error));
  });
  await response.body?.cancel().catch(() => undefined);
  if (!response.ok) throw new WebhookRefused(`answered with status ${response.status}`);
}

function sign(secret: string, text: string): string {
  const key = secret.startsWith('whsec_')
    ? Buffer.from(secret.slice('whsec_'.length), 'base64')
    : Buffer.from(secret);
  return createHmac('sha256', key).update(text).digest('base64');
}

function failureOf(error: unknown): string {
  const { name, cause } = Object(error) as Error;
  if (name === 'TimeoutError') return 'did not answer in time';
  if (name === 'AbortError') return 'was not waited for: this process stops';
  const { code } = Object(cause) as NodeJS.ErrnoException;
  return `cannot be reached (${code ?? name})`;
}
