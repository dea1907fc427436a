import { readFile } from 'node:fs/promises';
import { afterEach, expect, it } from 'vitest';
import { until } from '@antiphon/testing/until';
import { createAacEncoder } from './aac-encoder.ts';

/** Process ids of our children that run ffmpeg, or the shell that becomes it, with those that nobody waited for. */
async function ffmpegChildren(): Promise<string[]> {
  const children = await readFile(`/proc/self/task/${process.pid}/children`, 'utf8');
  const found: string[] = [];
  for (const pid of children.split(' ').filter(Boolean)) {
    const name = await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '');
    if (['ffmpeg', 'sh'].includes(name.trim())) found.push(pid);
  }
  return found;
}

afterEach(async () => {
  await until(async () => (await ffmpegChildren()).length === 0);
});

it('leaves no ffmpeg behind when it is closed in mid-answer', async () => {
  const encoder = await createAacEncoder();
  await encoder.encode(new Uint8Array(48_000));
  expect(await ffmpegChildren()).toHaveLength(1);
  encoder.close();
  await until(async () => (await ffmpegChildren()).length === 0);
});

it('ends a pending end() when it is closed', async () => {
  const encoder = await createAacEncoder();
  await encoder.encode(new Uint8Array(48_000));
  const ending = encoder.end();
  encoder.close();
  await expect(ending).resolves.toBeInstanceOf(Uint8Array);
});

it('gives audio before its end', async () => {
  const encoder = await createAacEncoder();
  try {
    const early = await until(
      async () => (await encoder.encode(new Uint8Array(9600))).length > 0 || undefined,
    );
    expect(early).toBe(true);
  } finally {
    encoder.close();
  }
});

it('says that it failed when ffmpeg dies, and does not hang', async () => {
  const encoder = await createAacEncoder();
  const [pid] = await ffmpegChildren();
  process.kill(Number(pid), 'SIGKILL');
  try {
    await expect(
      (async () => {
        for (;;) await encoder.encode(new Uint8Array(480_000));
      })(),
    ).rejects.toMatchObject({ code: 'engine_failed' });
    await expect(encoder.end()).rejects.toMatchObject({ code: 'engine_failed' });
  } finally {
    encoder.close();
  }
});

it('keeps its environment from ffmpeg', async () => {
  process.env['AAC_TEST_SECRET'] = 'secret';
  const encoder = await createAacEncoder();
  try {
    const [pid] = await ffmpegChildren();
    expect(await readFile(`/proc/${pid}/environ`, 'utf8')).not.toContain('secret');
  } finally {
    encoder.close();
    delete process.env['AAC_TEST_SECRET'];
  }
});
