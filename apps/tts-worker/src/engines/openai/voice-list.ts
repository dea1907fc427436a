import { z } from 'zod';
import type { Voice } from '@antiphon/shared/services/tts-service';

const voice = z.union([
  z
    .string()
    .min(1)
    .transform((id): Voice => ({ id, name: id })),
  z
    .object({
      id: z.string().min(1).optional(),
      voice_id: z.string().min(1).optional(),
      name: z.string().optional(),
      language: z.string().optional(),
    })
    .transform(({ id, voice_id, name, language }): Voice => {
      const known = id ?? voice_id ?? name ?? '';
      return { id: known, name: name ?? known, ...(language === undefined ? {} : { language }) };
    }),
]);

/**
 * The forms in which servers list voices: `{voices: ["af_heart"]}` (Kokoro-FastAPI),
 * `{voices: [{id, name}]}` (Open WebUI's), `{data: [{id}]}` (mlx-audio), or a bare array.
 */
export const voiceList = z
  .union([
    z.object({ voices: z.array(voice) }).transform(({ voices }) => voices),
    z.object({ data: z.array(voice) }).transform(({ data }) => data),
    z.array(voice),
  ])
  .transform((voices) => {
    const byId = new Map(voices.map((one) => [one.id, one]));
    byId.delete('');
    return [...byId.values()];
  });
