import { z } from 'zod';
import type { Api } from '../api.ts';
import { describeApiFailure } from '../api-failure.ts';
import { type CheckResult, failed, ok, warning } from './check.ts';

const ANSWER_WITHIN_MS = 5000;
const MOST_SHOWN = 6;

export interface ServerHints {
  /** `PORT` in `.env`: where `npm start` listens. */
  port: string | undefined;
  /** Whether `.env` has keys of its own. */
  hasKeys: boolean;
}

const readiness = z.looseObject({
  redis: z.boolean().optional(),
  accepting: z.boolean().optional(),
  stages: z.record(z.string(), z.unknown()),
});

const modelList = z.looseObject({
  data: z.array(z.looseObject({ id: z.string(), owned_by: z.string().optional() })),
});
const voiceList = z.looseObject({
  voices: z.array(z.union([z.string(), z.looseObject({ id: z.string() })])),
});

/** Any answer will do: what it says is looked at by the checks that follow. */
export async function checkReachable({ baseUrl }: Api, hints: ServerHints): Promise<CheckResult> {
  try {
    const response = await fetch(`${baseUrl}/models`, { signal: soon() });
    await response.body?.cancel();
    return ok(`${baseUrl} answers`);
  } catch {
    const elsewhere =
      hints.port !== undefined && !baseUrl.includes(`:${hints.port}/`)
        ? `.env says PORT=${hints.port}: give --base-url http://127.0.0.1:${hints.port}/v1`
        : 'start it by npm start, or name another by --base-url or OPENAI_BASE_URL';
    return failed(`nothing answers at ${baseUrl}`, elsewhere);
  }
}

/** antiphon's own picture of itself. */
export async function checkReady({ baseUrl }: Api): Promise<CheckResult> {
  const url = `${baseUrl.replace(/\/v1$/, '')}/health/ready`;
  try {
    const response = await fetch(url, { signal: soon() });
    const body = readiness.safeParse(await response.json().catch(() => undefined));
    if (!body.success) return warning(`no ${url}: not antiphon`, 'go on if it is another server');
    const { stages, redis, accepting } = body.data;
    const live = Object.entries(stages).filter(([, state]) => isLive(state));
    const dead = Object.entries(stages).filter(([, state]) => !isLive(state));
    const shown = live.map(([stage, state]) => stage + enginesIn(state)).join(', ') || 'no stage';
    if (response.ok && dead.length === 0) return ok(`stages live: ${shown}`);
    if (redis === false) return failed('the server has lost its Redis', 'start Redis again');
    if (accepting === false) return failed('the server is shutting down', 'start it again');
    const lacking = dead.map(([stage]) => stage).join(', ');
    const workers = dead.map(([stage]) => `${stage}-worker`).join(', ');
    const advice = `see the log of: ${workers}; an engine that is not warm yet needs a moment`;
    return failed(`live: ${shown}; nobody works for: ${lacking}`, advice);
  } catch {
    return failed(`${url} does not answer`, "see the server's log");
  }
}

/** Models with their engines, and with them the key: both come from one answer. */
export async function checkModels(
  api: Api,
  hints: ServerHints,
): Promise<{ key: CheckResult; models: CheckResult }> {
  try {
    const answer: unknown = await api.client.get('/models', { signal: soon() });
    const { data } = modelList.parse(answer);
    const key = ok('accepted');
    if (data.length === 0) {
      return { key, models: failed('the server lists no model', 'start a worker') };
    }
    const engines = [...new Set(data.map(({ owned_by: engine }) => engine))].filter(Boolean);
    const names = shorten(data.map(({ id }) => id));
    const by = engines.length === 0 ? '' : `; engines: ${engines.join(', ')}`;
    return { key, models: ok(`${data.length}: ${names}${by}`) };
  } catch (thrown) {
    const { message, advice } = describeApiFailure(thrown, api.baseUrl);
    const isKey = /refused the key/.test(message);
    const where = hints.hasKeys ? '; .env has them as API_KEYS' : '';
    if (isKey) {
      const models = failed('not shown without a key', 'see above');
      return { key: failed(message, `${advice}${where}`), models };
    }
    const told = thrown instanceof z.ZodError ? 'GET /models gives no list' : message;
    return { key: ok('not asked for'), models: warning(told, 'name models by --model') };
  }
}

/** `names` is empty when the server has no list. */
export async function checkVoices(api: Api): Promise<{ names: string[]; voices: CheckResult }> {
  try {
    const answer: unknown = await api.client.get('/audio/voices', { signal: soon() });
    const names = voiceList
      .parse(answer)
      .voices.map((voice) => (typeof voice === 'string' ? voice : voice.id));
    if (names.length > 0) return { names, voices: ok(`${names.length}: ${shorten(names)}`) };
  } catch {
    // Only antiphon and other local servers have the route.
  }
  return { names: [], voices: warning('the server lists no voices', 'name one by --voice') };
}

function isLive(state: unknown): boolean {
  return Array.isArray(state) ? state.length > 0 : Boolean(state);
}

function enginesIn(state: unknown): string {
  return Array.isArray(state) ? ` (${state.join(', ')})` : '';
}

function shorten(names: string[]): string {
  const more = names.length > MOST_SHOWN ? ' …' : '';
  return names.slice(0, MOST_SHOWN).join(', ') + more;
}

const soon = (): AbortSignal => AbortSignal.timeout(ANSWER_WITHIN_MS);
