import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { decodeToPcm, probeSeconds } from '@antiphon/testing/decode-audio';
import {
  type OpenAIServer,
  type OpenAIServerOptions,
  startOpenAIServer,
} from '@antiphon/testing/openai-server';
import { spokenPcm } from '@antiphon/testing/openai-server/speech';
import { until } from '@antiphon/testing/until';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { runCli, startCli } from '../testing/run-cli.ts';
import { samplesOf, wavSamples } from '../testing/wav-samples.ts';

const TEXT = `A Tale
of doors

CHAPTER I

The door was
open.

It shut: "Bang!"

CHAPTER II. The Wind

The wind blew.
`;
const PARTS = [
  ['A Tale of doors'],
  ['CHAPTER I', 'The door was open.', 'It shut: "Bang!"'],
  ['CHAPTER II. The Wind', 'The wind blew.'],
];
const NAMES = ['00-beginning', '01-chapter-i', '02-chapter-ii-the-wind'];
const LISTS = ['.antiphon-batch.json', 'chapters.m3u', 'contents.json', 'contents.txt'];

let server: OpenAIServer;
let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'antiphon-cli-'));
  await writeFile(join(directory, 'tale.txt'), TEXT);
});
afterEach(async () => {
  await server.close();
  await rm(directory, { recursive: true, force: true });
});

async function start(options: OpenAIServerOptions = {}): Promise<void> {
  server = await startOpenAIServer({ batches: {}, ...options });
}
const environment = () => ({ OPENAI_BASE_URL: server.baseUrl });
const speak = (...args: string[]) =>
  runCli(['batch', 'speak', 'tale.txt', ...args], { directory, environment: environment() });
const saved = (name: string) => readFile(join(directory, 'tale', name));
const inputs = () =>
  server.requests
    .flatMap(({ files }) => files['file'] ?? [])
    .map(({ bytes }) =>
      bytes
        .toString()
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line)),
    );
const said = (): string[][] => inputs().map((lines) => lines.map(({ body }) => body.input));
const silence = (seconds: number) => Buffer.alloc(Math.round(seconds * 24_000) * 2);
/** Of a chapter: its parts, and a pause behind the heading and between paragraphs. */
function expectedPcm([first = '', ...rest]: string[]): Buffer {
  const paragraphs = rest.map((text, at) => [silence(at === 0 ? 1 : 0.7), spokenPcm(text)]);
  return Buffer.concat([spokenPcm(first), ...paragraphs.flat()]);
}
const secondsOf = (parts: string[]) => expectedPcm(parts).byteLength / 48_000;

describe('a book', () => {
  it('becomes one file per chapter: the parts and the pauses, sample by sample', async () => {
    await start();
    const args = ['--format', 'wav', '--voice', 'echo', '--speed', '1.5', '--model', 'm'];
    const outcome = await speak(...args);
    expect(outcome).toMatchObject({ code: 0 });
    expect(outcome.stderr).toMatch(/^antiphon: batch_2 speaks 6 of 6 paragraphs\n/);
    expect(said()).toStrictEqual([PARTS.flat()]);
    expect(inputs()[0]?.[1]).toStrictEqual({
      ...{ custom_id: 'part-1', method: 'POST', url: '/v1/audio/speech' },
      body: {
        ...{ model: 'm', voice: 'echo', speed: 1.5 },
        input: 'CHAPTER I',
        response_format: 'pcm',
      },
    });
    expect((await readdir(join(directory, 'tale'))).sort()).toStrictEqual(
      [...LISTS, ...NAMES.map((name) => `${name}.wav`)].sort(),
    );
    for (const [at, name] of NAMES.entries()) {
      const { samples } = wavSamples(await saved(`${name}.wav`));
      expect(samples).toStrictEqual(samplesOf(expectedPcm(PARTS[at] ?? [])));
    }
    // Nothing of it is left on the server.
    expect([...server.batches.files.keys()]).toStrictEqual([]);
  });

  it('has a table of contents: where each chapter and paragraph begins', async () => {
    await start();
    const { stdout } = await speak('--format', 'pcm');
    const contents = JSON.parse((await saved('contents.json')).toString());
    const lengths = PARTS.map(secondsOf);
    const begins = lengths.map((_, at) =>
      lengths.slice(0, at).reduce((sum, next) => sum + next, 0),
    );
    for (const [at, chapter] of contents.chapters.entries()) {
      expect(chapter.startSeconds).toBeCloseTo(begins[at] ?? -1, 3);
      expect(chapter.durationSeconds).toBeCloseTo(lengths[at] ?? -1, 3);
      expect(samplesOf(await saved(chapter.file)).length / 24_000).toBe(chapter.durationSeconds);
    }
    expect(contents.chapters[1].paragraphs).toStrictEqual([
      { startSeconds: 0, text: 'CHAPTER I' },
      { startSeconds: secondsOf(['CHAPTER I']) + 1, text: 'The door was open.' },
      {
        startSeconds: expect.closeTo(secondsOf(PARTS[1]?.slice(0, 2) ?? []) + 0.7, 3),
        text: 'It shut: "Bang!"',
      },
    ]);
    expect(stdout).toBe((await saved('contents.txt')).toString());
    expect(stdout).toBe(
      [
        '    0:00      0:00  Beginning  (00-beginning.pcm)\n',
        '    0:00      0:03  CHAPTER I  (01-chapter-i.pcm)\n',
        '    0:04      0:02  CHAPTER II. The Wind  (02-chapter-ii-the-wind.pcm)\n',
      ].join(''),
    );
    expect((await saved('chapters.m3u')).toString()).toMatch(
      /^#EXTM3U\n#EXTINF:1,Beginning\n00-beginning\.pcm\n#EXTINF:4,CHAPTER I\n/,
    );
  });

  it.each(['mp3', 'opus', 'flac', 'aac'])(
    'as %s is encoded once: no seam, the same length',
    async (format) => {
      await start();
      expect(await speak('--format', format)).toMatchObject({ code: 0 });
      const decoded = await decodeToPcm(await saved(`${NAMES[1]}.${format}`), {
        sampleRateHz: 24_000,
      });
      const expected = expectedPcm(PARTS[1] ?? []).byteLength / 2;
      // A codec pads the ends, by three frames of 1,024 samples at most.
      expect(Math.abs(decoded.length - expected)).toBeLessThan(3072);
      if (format !== 'flac') return;
      const told = await probeSeconds(await saved(`${NAMES[1]}.flac`));
      expect(told).toBeCloseTo(expected / 24_000, 3);
    },
  );

  it('of 300 paragraphs is one batch, and loses no sample', async () => {
    await start();
    const text = Array.from({ length: 300 }, (_, at) => `Paragraph ${at}.`).join('\n\n');
    await writeFile(join(directory, 'tale.txt'), text);
    expect(await speak('--format', 'pcm')).toMatchObject({ code: 0 });
    expect(server.batches.batches.size).toBe(1);
    const pauses = 299 * 0.7 * 24_000;
    const spoken = text
      .split('\n\n')
      .reduce((sum, part) => sum + spokenPcm(part).byteLength / 2, 0);
    expect((await stat(join(directory, 'tale', '01-tale.pcm'))).size / 2).toBe(spoken + pauses);
  });
});

describe('a stop', () => {
  it('Ctrl-C leaves the batch running; the same command goes on with it', async () => {
    const { promise: hold, resolve: go } = Promise.withResolvers<void>();
    await start({ batches: { hold } });
    const running = startCli(['batch', 'speak', 'tale.txt', '--format', 'pcm'], {
      ...{ directory, environment: environment() },
    });
    await until(() => running.written.stderr.includes('speaks 6'));
    running.child.kill('SIGINT');
    const stopped = await running.outcome;
    expect(stopped).toMatchObject({ code: 130, stdout: '' });
    expect(stopped.stderr).toMatch(
      /antiphon: batch_2 goes on on the server: the same command goes on with it, batch cancel batch_2 ends it\n$/,
    );
    go();
    const outcome = await speak('--format', 'pcm');
    expect(outcome).toMatchObject({ code: 0 });
    expect(outcome.stderr).toMatch(
      /^antiphon: going on: 6 of 6 paragraphs are missing, of batch_2\n/,
    );
    expect(server.batches.batches.size).toBe(1);
    expect(samplesOf(await saved(`${NAMES[2]}.pcm`))).toStrictEqual(
      samplesOf(expectedPcm(PARTS[2] ?? [])),
    );
  });

  it('what is there is not asked for again; what was removed is', async () => {
    await start();
    await speak('--format', 'pcm');
    const before = server.requests.length;
    expect(await speak('--format', 'pcm')).toMatchObject({ code: 0 });
    expect(server.requests).toHaveLength(before);
    await rm(join(directory, 'tale', `${NAMES[2]}.pcm`));
    expect(await speak('--format', 'pcm')).toMatchObject({ code: 0 });
    expect(said()).toStrictEqual([PARTS.flat(), PARTS[2]]);
    expect((await readdir(join(directory, 'tale'))).length).toBe(LISTS.length + 3);
  });

  it('a sound that broke off is fetched from where it stopped', async () => {
    await start();
    const isContent = ({ path }: { path: string }) => path.endsWith('/content');
    const isSound = (request: { path: string }) =>
      isContent(request) &&
      server.batches.files.get(request.path.split('/')[2] ?? '')?.name === 'speech';
    const fault = { type: 'cut', by: 'fin', afterTokens: 2 } as const;
    server.script({ when: isSound, times: 2, tokenDelayMs: 20, fault });
    expect(await speak('--format', 'pcm')).toMatchObject({ code: 0 });
    expect(server.requests.filter(({ headers }) => headers.range).length).toBe(2);
    expect(samplesOf(await saved(`${NAMES[1]}.pcm`))).toStrictEqual(
      samplesOf(expectedPcm(PARTS[1] ?? [])),
    );
  });

  it('a limit of requests is waited for, and nothing stays behind because of it', async () => {
    await start();
    const limit = {
      type: 'status',
      ...{ status: 429, body: { error: { message: 'Slow down.' } } },
      headers: { 'retry-after': '0' },
    } as const;
    for (const [method, pattern] of [
      ['POST', /^\/files$/],
      ['POST', /^\/batches$/],
      ['GET', /\/content$/],
      ['DELETE', /^\/files\//],
    ] as const) {
      const isHeld = (request: { method: string; path: string }) =>
        request.method === method && pattern.test(request.path);
      server.script({ when: isHeld, times: 2, fault: limit });
    }
    expect(await speak('--format', 'pcm')).toMatchObject({ code: 0 });
    expect(server.requests.filter(({ status }) => status === 429)).toHaveLength(8);
    expect([...server.batches.files.keys()]).toStrictEqual([]);
  });

  it('sounds that the server has lost are spoken again', async () => {
    await start();
    const first = startCli(['batch', 'speak', 'tale.txt', '--format', 'pcm'], {
      ...{ directory, environment: environment() },
    });
    server.script({
      ...{ path: '/batches/batch_2/events', times: 1, fault: { type: 'status', status: 404 } },
    });
    const done = await until(() =>
      [...server.batches.batches.values()].find(({ status }) => status === 'completed'),
    );
    first.child.kill('SIGKILL');
    await first.outcome;
    for (const [id, { name }] of server.batches.files) {
      if (name === 'speech') server.batches.files.delete(id);
    }
    expect(done.completed).toBe(6);
    expect(await speak('--format', 'pcm')).toMatchObject({ code: 0 });
    expect(samplesOf(await saved(`${NAMES[1]}.pcm`))).toStrictEqual(
      samplesOf(expectedPcm(PARTS[1] ?? [])),
    );
  });

  it('another text or other options are told, and --restart begins anew', async () => {
    await start();
    await speak('--format', 'pcm');
    for (const args of [
      ['--format', 'wav'],
      ['--format', 'pcm', '--voice', 'echo'],
    ]) {
      const outcome = await speak(...args);
      expect(outcome).toMatchObject({ code: 2, stdout: '' });
      expect(outcome.stderr).toMatch(
        /^antiphon: [^\n]+ holds another text, or the same with other options — [^\n]+--restart\n$/,
      );
    }
    expect(await speak('--format', 'wav', '--restart')).toMatchObject({ code: 0 });
    expect((await readdir(join(directory, 'tale'))).sort()).toStrictEqual(
      [...LISTS, ...NAMES.map((name) => `${name}.wav`)].sort(),
    );
  });

  it('a batch that was cancelled elsewhere leaves the whole chapters, and the rest for later', async () => {
    await start({ batches: { lineMs: 100 } });
    const running = startCli(['batch', 'speak', 'tale.txt', '--format', 'pcm'], {
      ...{ directory, environment: environment() },
    });
    const batch = await until(() => [...server.batches.batches.values()][0]);
    await until(() => batch.completed >= 1);
    batch.status = 'cancelling';
    const outcome = await running.outcome;
    expect(outcome.code).toBe(1);
    expect(outcome.stderr).toMatch(
      /batch_2 was cancelled — the same command speaks what is missing\n$/,
    );
    expect(await readdir(join(directory, 'tale'))).toContain(`${NAMES[0]}.pcm`);
    expect(await speak('--format', 'pcm')).toMatchObject({ code: 0 });
    expect(samplesOf(await saved(`${NAMES[2]}.pcm`))).toStrictEqual(
      samplesOf(expectedPcm(PARTS[2] ?? [])),
    );
  });
});

describe('two at once', () => {
  it('do not write one folder: the second is told who does', async () => {
    const { promise: hold, resolve: go } = Promise.withResolvers<void>();
    await start({ batches: { hold } });
    const running = startCli(['batch', 'speak', 'tale.txt', '--format', 'pcm'], {
      ...{ directory, environment: environment() },
    });
    await until(() => running.written.stderr.includes('speaks 6'));
    for (const more of [[], ['--restart']]) {
      const outcome = await speak('--format', 'pcm', ...more);
      expect(outcome).toMatchObject({ code: 1, stdout: '' });
      expect(outcome.stderr).toMatch(
        new RegExp(`^antiphon: another antiphon \\(process ${running.child.pid}\\) is writing `),
      );
    }
    go();
    expect(await running.outcome).toMatchObject({ code: 0 });
    expect(server.batches.batches.size).toBe(1);
    expect((await readdir(join(directory, 'tale'))).length).toBe(LISTS.length + 3);
  });
});

describe('--restart', () => {
  /** Leaves a batch behind whose lines are all done, and a state that does not know of it. */
  async function leaveDone(): Promise<void> {
    await start();
    const unanswered = {
      path: '/batches/batch_2',
      times: 1,
      fault: { type: 'no-headers' },
    } as const;
    server.script(unanswered);
    const running = startCli(['batch', 'speak', 'tale.txt', '--format', 'pcm'], {
      ...{ directory, environment: environment() },
    });
    await until(() => server.batches.batches.get('batch_2')?.status === 'completed');
    await until(() => server.requestsTo('/batches/batch_2').length > 0);
    running.child.kill('SIGKILL');
    await running.outcome;
    expect([...server.batches.files.values()].map(({ name }) => name)).toContain('speech');
  }

  it('leaves nothing of the batch before, on the server where it was begun', async () => {
    await leaveDone();
    const old = server;
    try {
      const keyed = { OPENAI_API_KEY: 'secret' };
      server = await startOpenAIServer({ batches: {}, apiKey: 'secret' });
      const outcome = await runCli(['batch', 'speak', 'tale.txt', '--format', 'pcm', '--restart'], {
        directory,
        environment: { ...environment(), ...keyed },
      });
      expect(outcome).toMatchObject({ code: 0 });
      expect([...old.batches.files.keys()]).toStrictEqual([]);
      expect([...server.batches.files.keys()]).toStrictEqual([]);
      // The key is the new server's.
      for (const { headers } of old.requests) expect(headers.authorization).toBeUndefined();
    } finally {
      await old.close();
    }
  });

  it('waits until a batch that runs is cancelled', async () => {
    await start({ batches: { hold: new Promise(() => undefined) } });
    const running = startCli(['batch', 'speak', 'tale.txt', '--format', 'pcm'], {
      ...{ directory, environment: environment() },
    });
    await until(() => running.written.stderr.includes('speaks 6'));
    running.child.kill('SIGKILL');
    await running.outcome;
    const again = startCli(['batch', 'speak', 'tale.txt', '--format', 'wav', '--restart'], {
      ...{ directory, environment: environment() },
    });
    await until(() => again.written.stderr.includes('speaks 6'));
    expect(again.written.stderr).toMatch(/^antiphon: batch_2 is being ended\n/);
    expect(server.batches.batches.get('batch_2')).toMatchObject({ status: 'cancelled' });
    again.child.kill('SIGKILL');
    await again.outcome;
    // The input of the batch that runs now.
    expect(server.batches.files.size).toBe(1);
  });

  it('goes on when the server before is away, and tells what it has left there', async () => {
    await leaveDone();
    const { baseUrl } = server;
    await server.close();
    server = await startOpenAIServer({ batches: {} });
    const outcome = await speak('--format', 'pcm', '--restart');
    expect(outcome).toMatchObject({ code: 0 });
    const [first = ''] = outcome.stderr.split('\n');
    expect(first).toMatch(/^antiphon: batch_2 could not be ended: no server answers at /);
    expect(first).toContain(`batch cancel batch_2 --base-url ${baseUrl} ends it`);
  });
});

describe('a server that takes less', () => {
  it('time: what is not done is no failure, as long as some is', async () => {
    await start({ batches: { linesInWindow: 2 } });
    expect(await speak('--format', 'pcm', '--window', '2h')).toMatchObject({ code: 0 });
    expect(said()).toStrictEqual([PARTS.flat(), PARTS.flat().slice(2), PARTS.flat().slice(4)]);
    expect(server.requestsTo('/batches')[0]?.body).toMatchObject({
      completion_window: '2h',
      output_expires_after: { anchor: 'created_at', seconds: 2 * 3600 + 7 * 86_400 },
    });
  });

  it('no time at all: it is told once', async () => {
    await start({ batches: { linesInWindow: 0 } });
    const outcome = await speak('--format', 'pcm');
    expect(outcome).toMatchObject({ code: 1, stdout: '' });
    expect(outcome.stderr).toMatch(
      /antiphon: batch_2 expired before a paragraph was spoken — [^\n]+--window\n$/,
    );
    expect(server.batches.batches.size).toBe(1);
  });

  it('lines: fewer at a time', async () => {
    await start({ batches: { maxLines: 2 } });
    const outcome = await speak('--format', 'pcm');
    expect(outcome).toMatchObject({ code: 0 });
    expect(outcome.stderr).toMatch(/the server takes fewer than 6 lines: 3 at a time\n/);
    expect(said().slice(2)).toStrictEqual(PARTS.flat().map((text) => [text]));
    expect([...server.batches.files.keys()]).toStrictEqual([]);
  });

  it('characters: what is longer is cut again, also by a later call', async () => {
    const failLine = ({ input }: Record<string, unknown>) =>
      String(input).length > 60 ? 'String should have at most 60 characters' : undefined;
    await start({ batches: { failLine } });
    const sentences = Array.from(
      { length: 6 },
      (_, at) => `Here is sentence ${at} of them, which is long.`,
    );
    await writeFile(join(directory, 'tale.txt'), `CHAPTER I\n\n${sentences.join(' ')}\n\nEnd.`);
    const outcome = await speak('--format', 'pcm');
    expect(outcome).toMatchObject({ code: 0 });
    expect(outcome.stderr).toMatch(
      /the server takes at most 60 characters: longer paragraphs are cut/,
    );
    const [first, pieces = [], ...more] = said();
    expect([first, more]).toStrictEqual([['CHAPTER I', sentences.join(' '), 'End.'], []]);
    expect(pieces.join(' ')).toBe(sentences.join(' '));
    for (const piece of pieces) expect(piece.length).toBeLessThanOrEqual(60);
    const expected = [
      ...[spokenPcm('CHAPTER I'), silence(1)],
      ...pieces.map((text) => spokenPcm(text)),
    ];
    expect(samplesOf(await saved('01-chapter-i.pcm'))).toStrictEqual(
      samplesOf(Buffer.concat([...expected, silence(0.7), spokenPcm('End.')])),
    );
    const before = server.requests.length;
    expect(await speak('--format', 'pcm')).toMatchObject({ code: 0 });
    expect(server.requests).toHaveLength(before);
    const contents = JSON.parse((await saved('contents.json')).toString());
    expect(contents.chapters[0].paragraphs).toHaveLength(pieces.length + 2);
  });
});

describe('what fails', () => {
  it('is tried once more, in a batch of its own', async () => {
    const failLine = ({ input }: Record<string, unknown>, tried: number) =>
      input === 'The door was open.' && tried === 1 ? 'The engine failed.' : undefined;
    await start({ batches: { failLine, events: false } });
    const outcome = await speak('--format', 'pcm');
    expect(outcome).toMatchObject({ code: 0 });
    expect(outcome.stderr).toMatch(/antiphon: 1 line failed: once more\n/);
    expect(said()).toStrictEqual([PARTS.flat(), ['The door was open.']]);
    expect(samplesOf(await saved(`${NAMES[1]}.pcm`))).toStrictEqual(
      samplesOf(expectedPcm(PARTS[1] ?? [])),
    );
  });

  it('twice is named; the other chapters are written, and the next call tries again', async () => {
    let isBroken = true;
    const failLine = ({ input }: Record<string, unknown>) =>
      isBroken && input === 'The door was open.' ? 'The engine failed.' : undefined;
    await start({ batches: { failLine } });
    const outcome = await speak('--format', 'pcm');
    expect(outcome.code).toBe(1);
    expect(outcome.stderr).toMatch(
      /antiphon: CHAPTER I, "The door was open\.": The engine failed\.\nantiphon: 1 paragraph could not be spoken, and 1 chapter has no file — the same command tries them again\n$/,
    );
    expect((await readdir(join(directory, 'tale'))).sort()).toStrictEqual(
      [...LISTS, `${NAMES[0]}.pcm`, `${NAMES[2]}.pcm`].sort(),
    );
    isBroken = false;
    expect(await speak('--format', 'pcm')).toMatchObject({ code: 0 });
    expect(said().at(-1)).toStrictEqual(['The door was open.']);
    expect([...server.batches.files.keys()]).toStrictEqual([]);
  });

  it.each([
    [
      { batches: { failInput: 'Not parseable.' } },
      /did not begin batch_2: line 3: Not parseable — change/,
    ],
    [{ apiKey: 'secret' }, /refused the key \(401\) — set OPENAI_API_KEY/],
    [{ batches: undefined }, /the server has no batches \(404\) — check the base URL/],
  ] as [OpenAIServerOptions, RegExp][])('%j is one line', async (options, pattern) => {
    server = await startOpenAIServer({ batches: {}, ...options });
    const outcome = await speak();
    expect(outcome).toMatchObject({ code: 1, stdout: '' });
    expect(outcome.stderr.split('\n').at(-2)).toMatch(/^antiphon: [^\n]+ — [^\n]+$/);
    expect(outcome.stderr).toMatch(pattern);
  });

  it.each([
    ['nothing.txt', /'nothing\.txt' cannot be read \(ENOENT\) — name a text/],
    ['marks.txt', /there is nothing to say in 'marks\.txt'/],
    ['sound.bin', /'sound\.bin' is no text/],
  ])('%s is one line, and nothing is asked of the server', async (name, pattern) => {
    await start();
    await writeFile(join(directory, 'marks.txt'), '* * *\n');
    await writeFile(join(directory, 'sound.bin'), Buffer.from([0xff, 0xfe, 0, 1]));
    const args = ['batch', 'speak', name];
    const outcome = await runCli(args, { directory, environment: environment() });
    expect(outcome).toMatchObject({ code: 1, stdout: '' });
    expect(outcome.stderr).toMatch(/^antiphon: [^\n]+ — [^\n]+\n$/);
    expect(outcome.stderr).toMatch(pattern);
    expect(server.requests).toHaveLength(0);
  });
});
