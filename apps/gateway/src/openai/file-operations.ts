import { CONTENT_TYPES } from '@antiphon/shared/audio/audio-format';
import { FILE_LIFE_SECONDS, MIN_FILE_LIFE_SECONDS } from '@antiphon/shared/files/file-record';
import { z } from '@hono/zod-openapi';
import { UPLOAD_PURPOSES, fileObjectSchema } from './file-object.ts';
import type { GatewayOperation } from './gateway-operation.ts';

const MAX_PAGE = 10_000;

export const fileListQuery = z.object({
  purpose: z.string().optional(),
  limit: z.coerce.number().int().min(1).max(MAX_PAGE).default(MAX_PAGE),
  order: z.enum(['asc', 'desc']).default('desc').describe('By when they came.'),
  after: z.string().optional().describe('Id of the last file of the page before.'),
});

const fileForm = {
  type: 'object',
  required: ['file', 'purpose'],
  properties: {
    file: { type: 'string', format: 'binary', description: 'For a batch, `.jsonl`' },
    purpose: {
      type: 'string',
      enum: [...UPLOAD_PURPOSES],
      description: '`user_data`: recordings that a batch is to transcribe',
    },
    'expires_after[anchor]': { type: 'string', enum: ['created_at'] },
    'expires_after[seconds]': {
      type: 'integer',
      ...{ minimum: MIN_FILE_LIFE_SECONDS, maximum: FILE_LIFE_SECONDS },
      description: '30 days for `batch` unless told; others stay until they are deleted',
    },
  },
};

const fileId = z.object({ id: z.string().describe('`file-…`') });

export const FILE_OPERATIONS: GatewayOperation[] = [
  {
    method: 'post',
    path: '/v1/files',
    tag: 'files',
    summary: 'Stores a file: lines for a batch, or a recording for one',
    form: fileForm,
    answer: fileObjectSchema,
  },
  {
    method: 'get',
    path: '/v1/files',
    tag: 'files',
    summary: 'The files of your key',
    query: fileListQuery,
    answer: z.object({
      object: z.literal('list'),
      data: z.array(fileObjectSchema),
      first_id: z.string().nullable(),
      last_id: z.string().nullable(),
      has_more: z.boolean(),
    }),
  },
  {
    method: 'get',
    path: '/v1/files/{id}',
    tag: 'files',
    summary: 'What is known of a file',
    parameters: fileId,
    answer: fileObjectSchema,
  },
  {
    method: 'delete',
    path: '/v1/files/{id}',
    tag: 'files',
    summary: 'Deletes a file',
    parameters: fileId,
    answer: z.object({ id: z.string(), object: z.literal('file'), deleted: z.literal(true) }),
  },
  {
    method: 'get',
    path: '/v1/files/{id}/content',
    tag: 'files',
    summary: 'The bytes of a file, all or a range of them',
    description: '`Range: bytes=` gives 206 or 416; with `If-Range`, the `ETag` of the file.',
    parameters: fileId,
    answers: ['application/octet-stream', 'application/jsonl', ...Object.values(CONTENT_TYPES)],
  },
];
