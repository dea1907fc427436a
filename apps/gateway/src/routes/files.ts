import type { FileRecord } from '@antiphon/shared/files/file-record';
import type { Handler } from 'hono';
import { fileNotFound, findFile } from '../files/find-file.ts';
import type { GatewayContext, GatewayEnv } from '../gateway-context.ts';
import { readFileForm } from '../openai/file-form.ts';
import { fileListQuery } from '../openai/file-operations.ts';
import { describeFile } from '../openai/file-object.ts';
import { parseBody } from '../openai/json-body.ts';

type FileContext = Pick<GatewayContext, 'config' | 'files' | 'fileBlobs'>;

/** `POST /v1/files`. */
export const fileUpload =
  ({ config, files, fileBlobs }: FileContext): Handler<GatewayEnv> =>
  async (c) => {
    const { MAX_FILE_BYTES: maxBytes, UPLOAD_IDLE_TIMEOUT_MS: idleMs } = config;
    const form = await readFileForm(c.env.incoming, fileBlobs, { maxBytes, idleMs });
    const { lifeSeconds, ...given } = form;
    const createdAtSeconds = Math.floor(Date.now() / 1000);
    const file: FileRecord = {
      ...{ ...given, tenantId: c.get('tenantId'), createdAtSeconds },
      ...(lifeSeconds === undefined ? {} : { expiresAtSeconds: createdAtSeconds + lifeSeconds }),
    };
    try {
      await files.add(file);
    } catch (error) {
      await fileBlobs.delete(file.id);
      throw error;
    }
    return c.json(describeFile(file));
  };

/** `GET /v1/files`: the caller's key's, by page. */
export const fileList =
  ({ files }: FileContext): Handler<GatewayEnv> =>
  async (c) => {
    const query = parseBody(fileListQuery, c.req.query());
    const page = await files.list(c.get('tenantId'), query);
    if (!page) throw fileNotFound(query.after ?? '', 'after');
    const data = page.files.map((file) => describeFile(file));
    return c.json({
      ...{ object: 'list', data },
      ...{ first_id: data.at(0)?.id ?? null, last_id: data.at(-1)?.id ?? null },
      has_more: page.hasMore,
    });
  };

/** `GET /v1/files/{id}`. */
export const fileById =
  ({ files }: FileContext): Handler<GatewayEnv, '/:id'> =>
  async (c) =>
    c.json(describeFile(await findFile(files, c.get('tenantId'), c.req.param('id'))));

/** `DELETE /v1/files/{id}`: the record first, without which nobody comes upon the bytes. */
export const fileDelete =
  ({ files, fileBlobs }: FileContext): Handler<GatewayEnv, '/:id'> =>
  async (c) => {
    const id = c.req.param('id');
    const blobId = await files.remove(c.get('tenantId'), id);
    if (blobId === undefined) throw fileNotFound(id);
    await fileBlobs.delete(blobId);
    return c.json({ id, object: 'file', deleted: true });
  };
