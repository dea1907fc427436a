import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { CONTENT_TYPES } from '@antiphon/shared/audio/audio-format';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { OpenAPIHono } from '@hono/zod-openapi';
import { ERROR_SCHEMA, type GatewayOperation, OPERATIONS } from '../openai/openapi-operations.ts';
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

/** A file of its own, so that a content security policy may forbid inline scripts. */
const START = `SwaggerUIBundle({ url: '/openapi.json', dom_id: '#swagger-ui', deepLinking: true });\n`;

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
      "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'",
    );
    return c.html(PAGE);
  });
  app.get('/docs/start.js', (c) =>
    c.body(START, 200, { 'content-type': 'text/javascript; charset=utf-8' }),
  );
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
  const { method, path, summary, tag, body, form, parameters, query, answers, open } = operation;
  const example = operation.example ? { example: operation.example } : {};
  const content = {
    ...(form ? { 'multipart/form-data': { schema: form } } : {}),
    ...(body ? { 'application/json': { schema: body, ...example } } : {}),
  };
  const error = {
    description: 'An error in OpenAI’s envelope',
    content: { 'application/json': { schema: errorSchema } },
  };
  return {
    method,
    path,
    summary,
    tags: [tag],
    ...(open ? {} : { security: [{ bearer: [] }] }),
    request: {
      ...(body || form ? { body: { required: true, content } } : {}),
      ...(parameters ? { params: parameters } : {}),
      ...(query ? { query } : {}),
    },
    responses: {
      200: {
        description: 'OK',
        content: Object.fromEntries(
          (answers ?? ['application/json']).map((type) => [
            type,
            { schema: operation.answer ?? answerSchema(type) },
          ]),
        ),
      },
      ...(open ? {} : { default: error }),
    },
  };
}

const BINARY = new Set<string>(Object.values(CONTENT_TYPES));

const answerSchema = (contentType: string) =>
  BINARY.has(contentType)
    ? { type: 'string' as const, format: 'binary' }
    : { type: contentType === 'application/json' ? ('object' as const) : ('string' as const) };
