import { APIError } from 'openai';

/** Whether a server refused a chat because it does not speak, and would answer in text. */
export function refusesAudio(thrown: unknown): boolean {
  if (!(thrown instanceof APIError)) return false;
  const { status, param, message } = thrown;
  if (![400, 404, 422, 501].includes(status ?? 0)) return false;
  if (param === 'model' || param?.endsWith('voice')) return false; // another one is needed
  if (param === 'modalities' || param === 'audio') return true;
  return /modalit|(support|accept|unknown|unrecogni|unexpected|extra)[^]*\baudio|\baudio[^]*support/i.test(
    message,
  );
}
