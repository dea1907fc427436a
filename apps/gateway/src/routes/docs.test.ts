import { Validator } from '@seriousme/openapi-schema-validator';
import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { startScriptedWorker } from '@antiphon/testing/scripted-worker';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CHAT_OPERATION, chatChunkSchema, chatCompletionSchema } from '../openai/chat-operation.ts';
import { SOUND_HEADERS } from '../openai/gateway-operation.ts';
import { answerChat, speakPhrases, speakSilence } from '../testing/scripted-handlers.ts';
import { type TestGateway, openTestGateway } from '../testing/test-gateway.ts';

interface Document {
  paths: Record<string, Record<string, { responses: Record<string, unknown>; security?: unknown }>>;
  components: { schemas: Record<string, unknown> };
}

let redis: RedisServer;
let gateway: TestGateway;
let document: Document;
beforeAll(async () => {
  redis = await startRedis();
  gateway = await openTestGateway(redis.url);
  document = (await (await fetch(`${gateway.url}/openapi.json`)).json()) as Document;
});
afterAll(async () => {
  await gateway.close();
  await redis.close();
});

/** All `$ref`s in a value. */
function references(value: unknown): string[] {
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, child]) =>
    key === '$ref' && typeof child === 'string' ? [child] : references(child),
  );
}

function resolve(reference: string): unknown {
  return reference
    .replace(/^#\//, '')
    .split('/')
    .reduce<unknown>(
      (value, name) => (value as Record<string, unknown> | undefined)?.[name],
      document,
    );
}

describe('/openapi.json', () => {
  it('is OpenAPI 3.1', async () => {
    const validator = new Validator();
    const result = await validator.validate(structuredClone({ ...document }));
    expect(result).toStrictEqual({ valid: true });
    expect(validator.version).toBe('3.1');
  });

  it('every reference leads somewhere', () => {
    const found = references(document);
    expect(found).toContain('#/components/schemas/Error');
    expect(found.filter((reference) => resolve(reference) === undefined)).toStrictEqual([]);
  });

  it('lists every route of the gateway, and no other', () => {
    const assets = new Set(['GET /docs/start.js', 'GET /docs/:file']);
    const routes = gateway.app.routes
      .filter(({ method }) => method !== 'ALL')
      .map(({ method, path }) => `${method} ${path}`)
      .filter((route) => !assets.has(route))
      .map((route) => route.replaceAll(/:(\w+)(\{[^}]*\})?/g, '{$1}'));
    const listed = Object.entries(document.paths).flatMap(([path, operations]) =>
      Object.keys(operations).map((method) => `${method.toUpperCase()} ${path}`),
    );
    expect(listed.sort()).toStrictEqual(routes.sort());
  });

  it('what needs a key says so', () => {
    const secured = Object.entries(document.paths).flatMap(([path, operations]) =>
      Object.values(operations).some(({ security }) => security !== undefined) ? [path] : [],
    );
    const paths = Object.keys(document.paths);
    expect(secured).toStrictEqual(paths.filter((path) => /^\/(v1|api)\//.test(path)));
  });

  it('its error is the one that is sent', async () => {
    const { error } = (await (await fetch(`${gateway.url}/v1/nothing`)).json()) as {
      error: Record<string, unknown>;
    };
    expect(document.components.schemas['Error']).toMatchObject({
      properties: { error: { required: Object.keys(error) } },
    });
  });
});

describe('the chat that it describes', () => {
  const workers: { close(): Promise<void> }[] = [];
  beforeAll(async () => {
    const { url: redisUrl } = redis;
    workers.push(
      await startScriptedWorker({
        ...{ redisUrl, kind: 'chat', announced: { models: ['speaker'] } },
        handler: async (context) =>
          context.job.audio ? speakPhrases(['One.', 'Two.'])(context) : answerChat('One.')(context),
      }),
      await startScriptedWorker({
        ...{ redisUrl, kind: 'speech' },
        announced: { models: ['tts-1'], voices: [{ id: 'alloy', name: 'Alloy' }] },
        handler: async (context) => {
          if (context.job.phraseIndex === 0) return speakSilence(context);
          const error = { code: 'engine_failed', message: 'Not this one.' };
          await context.producer.append(
            { type: 'phrase-error', phraseIndex: 1, error },
            { ends: 'phrase' },
          );
        },
      }),
    );
  });
  afterAll(async () => {
    for (const worker of workers) await worker.close();
  });

  const { examples = {} } = CHAT_OPERATION;

  it.each(Object.entries(examples))('is sent for %s, to the last key', async (_what, example) => {
    const { stream = false, audio } = example as { stream?: boolean; audio?: object };
    const usage = stream ? { stream_options: { include_usage: true } } : {};
    const response = await fetch(`${gateway.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ ...example, ...usage }),
    });
    const text = await response.text();
    const events = stream ? text.split('\n\n').map((line) => line.slice('data: '.length)) : [text];
    const told = events.filter((event) => event.startsWith('{')).map((event) => JSON.parse(event));
    expect(told.length).toBeGreaterThan(stream ? 1 : 0);
    const schema = stream ? chatChunkSchema : chatCompletionSchema;
    // What is not in the schema is left out by it.
    for (const event of told) expect(schema.parse(event)).toStrictEqual(event);
    expect(text.includes('"Not this one."')).toBe(audio !== undefined);
    const headers = Object.keys(SOUND_HEADERS.shape);
    const missing = headers.filter((name) => !response.headers.has(name));
    // This voice has no cache.
    expect(missing).toStrictEqual(['x-cache', ...(audio ? [] : ['server-timing'])]);
  });

  it('is in the document: its words, both shapes and a body for each', () => {
    const operation = document.paths['/v1/chat/completions']?.['post'];
    expect(operation).toMatchObject({
      description: expect.stringContaining('phrase_errors'),
      requestBody: { content: { 'application/json': { examples: { 'a-spoken-answer': {} } } } },
      responses: {
        200: {
          headers: { 'server-timing': {} },
          content: {
            'application/json': { schema: { properties: { phrase_errors: {} } } },
            'text/event-stream': { schema: { properties: { phrase_error: {} } } },
          },
        },
      },
    });
  });
});

describe('/docs', () => {
  it('is a page that takes everything from here', async () => {
    const response = await fetch(`${gateway.url}/docs`);
    expect(response.headers.get('content-type')).toMatch(/^text\/html/);
    const policy = response.headers.get('content-security-policy');
    expect(policy).toContain("default-src 'self'");
    expect(policy).toContain('media-src blob:'); // the player's
    const page = await response.text();
    const links = [...page.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, link = '']) => link);
    expect(links.length).toBeGreaterThan(2);
    for (const link of links) {
      expect(link).toMatch(/^\/docs\//);
      const asset = await fetch(gateway.url + link);
      expect(asset.status).toBe(200);
      expect((await asset.arrayBuffer()).byteLength).toBeGreaterThan(50);
    }
    expect(page).not.toMatch(/<script>[^<]/);
  });
});
