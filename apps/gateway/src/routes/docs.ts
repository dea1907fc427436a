import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { CONTENT_TYPES } from '@antiphon/shared/audio/audio-format';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { OpenAPIHono } from '@hono/zod-openapi';
import { EVENTS, type GatewayOperation } from '../openai/gateway-operation.ts';
import { ERROR_SCHEMA, OPERATIONS } from '../openai/openapi-operations.ts';
import type { GatewayEnv } from '../gateway-context.ts';

const ASSETS: Record<string, string> = {
  'swagger-ui.css': 'text/css; charset=utf-8',
  'swagger-ui-bundle.js': 'text/javascript; charset=utf-8',
  'favicon-32x32.png': 'image/png',
};

const PAGE = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>antiphon API</title>
<link rel="stylesheet" href="/docs/swagger-ui.css">
<link rel="icon" type="image/png" href="/docs/favicon-32x32.png">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
`;

const START = new URL('./docs-start.js', import.meta.url);

/** `GET /openapi.json`, and `/docs`: Swagger UI from our own files, nothing from elsewhere. */
export function addDocs(app: OpenAPIHono<GatewayEnv>): void {
  app.openAPIRegistry.registerComponent('securitySchemes', 'bearer', {
    type: 'http',
    scheme: 'bearer',
  });
  const error = app.openAPIRegistry.registerComponent('schemas', 'Error', ERROR_SCHEMA);
  for (const operation of OPERATIONS)
    app.openAPIRegistry.registerPath(describe(operation, error.ref));
  app.doc31('/openapi.json', {
    openapi: '3.1.0',
    info: {
      title: 'antiphon',
      version: '0.1.0',
      description:
        'An OpenAI-compatible voice server: chat, speech and transcription through queues, with any engine behind it.',
    },
  });
  app.get('/docs', (c) => {
    c.header(
      'content-security-policy',
      "default-src 'self'; img-src 'self' data:; media-src blob:; style-src 'self' 'unsafe-inline'",
    );
    return c.html(PAGE);
  });
  app.get('/docs/start.js', async (c) => {
    const headers = { 'content-type': 'text/javascript; charset=utf-8' };
    return c.body(await readFile(START, 'utf8'), 200, headers);
  });
  const directory = dirname(createRequire(import.meta.url).resolve('swagger-ui-dist/package.json'));
  app.get('/docs/:file', async (c) => {
    const file = c.req.param('file');
    const contentType = Object.hasOwn(ASSETS, file) ? ASSETS[file] : undefined;
    if (contentType === undefined) {
      throw new VoiceError('unknown_route', { message: `Invalid URL (GET ${c.req.path})` });
    }
    const bytes = await readFile(join(directory, file));
    return c.body(new Uint8Array(bytes), 200, { 'content-type': contentType });
  });
}

type PathConfig = Parameters<OpenAPIHono<GatewayEnv>['openAPIRegistry']['registerPath']>[0];

function describe(operation: GatewayOperation, errorSchema: { $ref: string }): PathConfig {
  const { method, path, summary, description, tag, open, headers } = operation;
  const { body, form, parameters, query, answers = [JSON_TYPE] } = operation;
  const error = {
    description: 'An error in OpenAI’s envelope',
    content: { [JSON_TYPE]: { schema: errorSchema } },
  };
  const answerTypes = answers.map((type) => [type, { schema: answerSchema(type, operation) }]);
  return {
    ...{ method, path, summary, tags: [tag] },
    ...(description === undefined ? {} : { description }),
    ...(open ? {} : { security: [{ bearer: [] }] }),
    request: {
      ...(body || form ? { body: { required: true, content: bodyContent(operation) } } : {}),
      ...(parameters ? { params: parameters } : {}),
      ...(query ? { query } : {}),
    },
    responses: {
      200: {
        description: 'OK',
        ...(headers ? { headers } : {}),
        content: Object.fromEntries(answerTypes),
      },
      ...(open ? {} : { default: error }),
    },
  };
}

function bodyContent({ body, form, examples }: GatewayOperation) {
  const named = Object.entries(examples ?? {}).map(([summary, value]) => [
    summary.replaceAll(/\W+/g, '-'), // a key of OpenAPI's may have no blanks
    { summary, value },
  ]);
  return {
    ...(form ? { 'multipart/form-data': { schema: form } } : {}),
    ...(body
      ? {
          [JSON_TYPE]: {
            schema: body,
            ...(named.length > 0 ? { examples: Object.fromEntries(named) } : {}),
          },
        }
      : {}),
  };
}

const JSON_TYPE = 'application/json';
const BINARY = new Set<string>([...Object.values(CONTENT_TYPES), 'application/octet-stream']);

function answerSchema(contentType: string, { answer, event }: GatewayOperation) {
  if (contentType === JSON_TYPE) return answer ?? { type: 'object' as const };
  if (contentType === EVENTS && event) return event;
  return { type: 'string' as const, ...(BINARY.has(contentType) ? { format: 'binary' } : {}) };
}
