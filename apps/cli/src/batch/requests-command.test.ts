import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type OpenAIServer,
  type OpenAIServerOptions,
  startOpenAIServer,
} from '@antiphon/testing/openai-server';
import { spokenPcm } from '@antiphon/testing/openai-server/speech';
import { until } from '@antiphon/testing/until';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { runCli, startCli } from '../testing/run-cli.ts';

let server: OpenAIServer;
let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'antiphon-cli-'));
});
afterEach(async () => {
  await server.close();
  await rm(directory, { recursive: true, force: true });
});

async function start(options: OpenAIServerOptions = {}): Promise<void> {
  server = await startOpenAIServer({ batches: {}, ...options });
}
/** No batch has a line done before `go` is called. */
async function startHeld(): Promise<{ go: () => void }> {
  const { promise: hold, resolve: go } = Promise.withResolvers<void>();
  await start({ batches: { hold } });
  return { go };
}
const options = () => ({ directory, environment: { OPENAI_BASE_URL: server.baseUrl } });
const batch = (...args: string[]) => runCli(['batch', ...args], options());
const file = (name: string) => readFile(join(directory, name));
const list = async (name: string) => (await readdir(join(directory, name))).sort();

async function writeRequests(customIds: string[], url = '/v1/audio/speech'): Promise<void> {
  const lines = customIds.map((customId) => {
    const body = { voice: 'alloy', input: `I am ${customId}.`, response_format: 'wav' };
    return `${JSON.stringify({ custom_id: customId, method: 'POST', url, body })}\n`;
  });
  await writeFile(join(directory, 'some.jsonl'), lines.join(''));
}

describe('run', () => {
  it('uploads, waits and fetches: output, errors, and sound by custom_id', async () => {
    const failLine = ({ input }: Record<string, unknown>) =>
      input === 'I am c.' ? 'The engine failed.' : undefined;
    await start({ batches: { failLine } });
    await writeRequests(['a', '../b c', 'c', '.. b c', 'A']);
    const outcome = await batch('run', 'some.jsonl', '--out', 'results');
    expect(outcome).toMatchObject({ code: 1, stdout: '' });
    expect(outcome.stderr).toBe(
      'antiphon: batch_2 has begun\nantiphon: 1 of 5 lines failed — see results\n',
    );
    expect(server.requestsTo('/batches')[0]?.body).toMatchObject({ endpoint: '/v1/audio/speech' });
    expect(await list('results')).toStrictEqual(
      ['A-2.wav', '_b_c.wav', '_b_c-2.wav', 'a.wav', 'errors.jsonl', 'output.jsonl'].sort(),
    );
    expect(await file('results/a.wav')).toStrictEqual(spokenPcm('I am a.'));
    expect(await file('results/_b_c.wav')).toStrictEqual(spokenPcm('I am ../b c.'));
    expect((await file('results/output.jsonl')).toString().trim().split('\n')).toHaveLength(4);
    expect((await file('results/errors.jsonl')).toString()).toContain('The engine failed.');
  });

  it('Ctrl-C tells how to come back, and fetch does: nothing is fetched twice', async () => {
    const { go } = await startHeld();
    await writeRequests(['a', 'b', 'c', 'd']);
    const running = startCli(['batch', 'run', 'some.jsonl'], options());
    await until(() => running.written.stderr.includes('has begun'));
    running.child.kill('SIGINT');
    expect(await running.outcome).toMatchObject({
      code: 130,
      stderr:
        'antiphon: batch_2 has begun\nantiphon: batch_2 goes on on the server: the same command, or batch fetch batch_2 --out some comes back to it, batch cancel batch_2 ends it\n',
    });
    go();
    for (const _ of [1, 2]) {
      const outcome = await batch('fetch', 'batch_2', '--out', 'some');
      expect(outcome).toMatchObject({ code: 0, stdout: '' });
      expect(outcome.stderr).toMatch(/^antiphon: 4 lines, 4 files, in [^\n]+\/some\n$/);
    }
    expect(await file('some/d.wav')).toStrictEqual(spokenPcm('I am d.'));
    const contents = server.requests.filter(({ path }) => path.endsWith('/content'));
    expect(contents).toHaveLength(4 + 2);
  });

  it('the same command goes on with the batch that runs, and with no other', async () => {
    const { go } = await startHeld();
    await writeRequests(['a', 'b', 'c', 'd']);
    const running = startCli(['batch', 'run', 'some.jsonl', '--window', '72h'], options());
    await until(() => running.written.stderr.includes('has begun'));
    running.child.kill('SIGINT');
    expect(await running.outcome).toMatchObject({ code: 130 });
    go();
    const outcome = await batch('run', 'some.jsonl', '--window', '72');
    expect(outcome).toMatchObject({ code: 0 });
    expect(outcome.stderr).toMatch(/^antiphon: going on with batch_2\nantiphon: 4 lines, 4 files/);
    expect(server.batches.batches.size).toBe(1);
    expect(server.requestsTo('/batches')[0]?.body).toMatchObject({ completion_window: '72h' });
    expect(await list('some')).toStrictEqual(['a.wav', 'b.wav', 'c.wav', 'd.wav', 'output.jsonl']);
    expect((await batch('run', 'some.jsonl', '--window', '72h')).stderr).toMatch(/ has begun\n/);
    expect((await batch('run', 'some.jsonl', '--window', '169h')).stderr).toMatch(
      /from 1h to 168h/,
    );
    expect(server.batches.batches.size).toBe(2);
  });

  it('what a batch has done before it expired is fetched first', async () => {
    const { promise: hold, resolve: go } = Promise.withResolvers<void>();
    await start({ batches: { hold, linesInWindow: 1 } });
    await writeRequests(['a', 'b']);
    const running = startCli(['batch', 'run', 'some.jsonl'], options());
    await until(() => running.written.stderr.includes('has begun'));
    running.child.kill('SIGINT');
    await running.outcome;
    go();
    await until(() => server.batches.batches.get('batch_2')?.status === 'expired');
    const outcome = await batch('run', 'some.jsonl');
    expect(outcome).toMatchObject({ code: 1, stdout: '' });
    expect(outcome.stderr).toMatch(/batch_2 expired with 1 of 2 lines done — see some\n$/);
    expect(await list('some')).toStrictEqual(['a.wav', 'errors.jsonl', 'output.jsonl']);
    expect((await batch('run', 'some.jsonl')).stderr).toMatch(/^antiphon: batch_\d+ has begun\n/);
  });

  it('begins anew when the batch was cancelled, or is forgotten by the server', async () => {
    await startHeld();
    await writeRequests(['a', 'b']);
    for (const end of [
      async (id: string) => batch('cancel', id),
      async (id: string) => server.batches.batches.delete(id),
    ]) {
      const running = startCli(['batch', 'run', 'some.jsonl'], options());
      await until(() => running.written.stderr.includes('has begun'));
      running.child.kill('SIGKILL');
      await running.outcome;
      const [id = '', stored] = [...server.batches.batches].at(-1) ?? [];
      await end(id);
      await until(() => stored?.status === 'cancelled' || !server.batches.batches.has(id));
    }
    const running = startCli(['batch', 'run', 'some.jsonl'], options());
    await until(() => running.written.stderr.includes('has begun'));
    running.child.kill('SIGKILL');
    await running.outcome;
    expect(server.requestsTo('/batches').filter(({ method }) => method === 'POST')).toHaveLength(3);
  });

  it('one folder is written by one command at a time', async () => {
    const { go } = await startHeld();
    await writeRequests(['a', 'b', 'c', 'd']);
    const running = startCli(['batch', 'run', 'some.jsonl'], options());
    await until(() => running.written.stderr.includes('has begun'));
    for (const args of [
      ['run', 'some.jsonl'],
      ['fetch', 'batch_2', '--out', 'some'],
    ]) {
      const outcome = await batch(...args);
      expect(outcome).toMatchObject({ code: 1, stdout: '' });
      expect(outcome.stderr).toBe(
        `antiphon: another antiphon (process ${running.child.pid}) is writing 'some' — wait for its end, or stop it: kill ${running.child.pid}\n`,
      );
    }
    go();
    expect(await running.outcome).toMatchObject({ code: 0 });
    expect(await batch('fetch', 'batch_2', '--out', 'some')).toMatchObject({ code: 0 });
  });

  it('what another batch has left under the same names is replaced, of the same size too', async () => {
    await start();
    await writeRequests(['a', 'b']);
    expect(await batch('run', 'some.jsonl', '--out', 'results')).toMatchObject({ code: 0 });
    const requests = (await file('some.jsonl')).toString();
    await writeFile(join(directory, 'some.jsonl'), requests.replaceAll('I am', 'I do'));
    expect(await batch('run', 'some.jsonl', '--out', 'results')).toMatchObject({ code: 0 });
    expect(await list('results')).toStrictEqual(['a.wav', 'b.wav', 'output.jsonl']);
    expect(await file('results/a.wav')).toStrictEqual(spokenPcm('I do a.'));
    expect(await file('results/b.wav')).toStrictEqual(spokenPcm('I do b.'));
  });

  it('what nobody knows of is fetched, whatever lies under its name', async () => {
    await start();
    await writeRequests(['a']);
    await mkdir(join(directory, 'some'));
    await writeFile(join(directory, 'some', 'a.wav'), Buffer.alloc(spokenPcm('I am a.').length));
    await writeFile(join(directory, 'some', 'errors.jsonl'), 'of another batch');
    expect(await batch('run', 'some.jsonl')).toMatchObject({ code: 0 });
    expect(await file('some/a.wav')).toStrictEqual(spokenPcm('I am a.'));
    expect(await list('some')).toStrictEqual(['a.wav', 'output.jsonl']);
  });

  it.each([
    ['some.jsonl', '', /'some\.jsonl' is empty — write one request per line/, 2],
    ['some.jsonl', 'x\n', /line 1 of 'some\.jsonl' is no JSON/, 2],
    ['some.jsonl', '{}\n', /line 1 of 'some\.jsonl' has no url — add it, or give --endpoint/, 2],
    ['other.jsonl', '', /'other\.jsonl' cannot be read \(ENOENT\) — name a file/, 1],
    [
      'other.jsonl --endpoint /v1/audio/speech',
      '',
      /'other\.jsonl' cannot be read \(ENOENT\) — name a file/,
      1,
    ],
  ])('%s with %j is one line', async (args, text, pattern, code) => {
    await start();
    await writeFile(join(directory, 'some.jsonl'), text);
    const outcome = await batch('run', ...args.split(' '));
    expect(outcome).toMatchObject({ code, stdout: '' });
    expect(outcome.stderr).toMatch(pattern);
    expect(outcome.stderr).toMatch(/^antiphon: [^\n]+\n$/);
    expect(server.requests).toHaveLength(0);
    expect(await readdir(directory)).toStrictEqual(['some.jsonl']);
  });

  it('a limit of requests is waited for, also at the first look and when it is cancelled', async () => {
    await startHeld();
    await writeRequests(['a', 'b', 'c', 'd']);
    const limit = {
      type: 'status',
      ...{ status: 429, body: { error: { message: 'Slow down.' } } },
      headers: { 'retry-after': '0' },
    } as const;
    server.script({ path: '/batches/batch_2', times: 2, fault: limit });
    server.script({ path: '/batches/batch_2/cancel', times: 2, fault: limit });
    const running = startCli(['batch', 'run', 'some.jsonl'], options());
    await until(() => server.requests.some(({ path }) => path.endsWith('/events')));
    expect(await batch('cancel', 'batch_2')).toMatchObject({ code: 0 });
    expect((await running.outcome).stderr).toMatch(/batch_2 cancelled with 0 of 4 lines done/);
    expect(server.requests.filter(({ status }) => status === 429)).toHaveLength(4);
  });

  it('a server that is away for a moment is waited for', async () => {
    await start({ batches: { lineMs: 50 } });
    await writeRequests(['a', 'b', 'c', 'd']);
    const gone = { type: 'status', status: 503, body: {} } as const;
    server.script({ path: '/batches/batch_2/events', times: 1, fault: gone });
    let looks = 0;
    const isSecond = ({ path }: { path: string }) =>
      path === '/batches/batch_2' && (looks += 1) === 2;
    server.script({ when: isSecond, fault: gone });
    const outcome = await batch('run', 'some.jsonl');
    expect(outcome.code).toBe(0);
    expect(outcome.stderr).toMatch(/the server does not answer: waiting for it\n/);
  });
});

describe('status and cancel', () => {
  it('one batch, all of them, and the end of one', async () => {
    await start({ batches: { lineMs: 2000 } });
    expect(await batch('status')).toMatchObject({
      ...{ code: 0, stdout: '', stderr: 'antiphon: there are no batches\n' },
    });
    await writeRequests(['a', 'b', 'c', 'd']);
    const running = startCli(['batch', 'run', 'some.jsonl'], options());
    const found = await until(() => [...server.batches.batches.values()][0]);
    await until(() => found.completed >= 1);
    const row = /^batch_2 {2}\w+ +\d of 4 {2}\/v1\/audio\/speech {2}2023-11-14 22:13 UTC\n$/;
    expect((await batch('status', 'batch_2')).stdout).toMatch(row);
    expect((await batch('cancel', 'batch_2')).stdout).toMatch(row);
    const outcome = await running.outcome;
    expect(outcome.code).toBe(1);
    expect(outcome.stderr).toMatch(/batch_2 cancelled with \d of 4 lines done — see some\n$/);
    expect((await batch('status')).stdout).toMatch(/^batch_2 {2}cancelled +\d of 4 {2}/);
    expect(JSON.parse((await batch('status', 'batch_2', '--json')).stdout)).toMatchObject({
      ...{ object: 'batch', id: 'batch_2', status: 'cancelled' },
    });
    expect(await list('some')).toContain('errors.jsonl');
  });

  it.each([[['status', 'x']], [['cancel', 'x']], [['fetch', 'x']]])(
    '%j of an unknown batch is one line and leaves no folder',
    async (args) => {
      await start();
      expect(await batch(...args)).toMatchObject({
        ...{ code: 1, stdout: '' },
        stderr:
          'antiphon: No such Batch object: x (404) — see batch status for those that are there\n',
      });
      expect(await readdir(directory)).toStrictEqual([]);
    },
  );

  it('no server, and no batches, are one line each', async () => {
    await start({ batches: undefined });
    expect((await batch('status')).stderr).toMatch(
      /^antiphon: the server has no batches \(404\) — /,
    );
    const nowhere = await runCli(
      ['batch', 'status', '--base-url', 'http://127.0.0.1:9/v1'],
      options(),
    );
    expect(nowhere).toMatchObject({ code: 1, stdout: '' });
    expect(nowhere.stderr).toMatch(/^antiphon: no server answers at [^\n]+\n$/);
  });
});

describe('transcribe', () => {
  it('writes each transcript beside its recording and leaves nothing on the server', async () => {
    await start();
    for (const name of ['a.mp3', 'größe.wav']) await writeFile(join(directory, name), 'sound');
    const args = ['a.mp3', 'größe.wav', '--format', 'srt', '--language', 'de', '--model', 'm'];
    const outcome = await batch('transcribe', ...args);
    expect(outcome).toMatchObject({
      code: 0,
      stdout: `${join(directory, 'a.srt')}\n${join(directory, 'größe.srt')}\n`,
      stderr: 'antiphon: batch_4 transcribes 2 recordings\n',
    });
    expect((await file('größe.srt')).toString()).toBe(
      '1\n00:00:00,000 --> 00:00:02,000\ngröße.wav\n\n',
    );
    const uploads = server.requestsTo('/files').filter(({ method }) => method === 'POST');
    // A day's window, and a week for whoever comes late.
    const life = {
      'expires_after[anchor]': ['created_at'],
      'expires_after[seconds]': [String(8 * 86_400)],
    };
    const recording = { purpose: ['user_data'], ...life };
    expect(uploads.map(({ fields }) => ({ ...fields }))).toStrictEqual([
      ...[recording, recording, { purpose: ['batch'] }],
    ]);
    const lines = uploads[2]?.files['file']?.[0]?.bytes.toString().trim().split('\n') ?? [];
    expect(lines.map((line) => JSON.parse(line))).toMatchObject([
      {
        ...{ custom_id: 'a.srt', method: 'POST', url: '/v1/audio/transcriptions' },
        body: { response_format: 'srt', language: 'de', model: 'm' },
      },
      { custom_id: 'größe.srt' },
    ]);
    expect([...server.batches.files.keys()]).toStrictEqual([]);
  });

  it('into a folder; one that fails is named, and --keep leaves the files', async () => {
    const failLine = ({ file_id: fileId }: Record<string, unknown>) =>
      server.batches.files.get(String(fileId))?.name === 'b.mp3' ? 'No sound in it.' : undefined;
    await start({ batches: { failLine } });
    for (const name of ['a.mp3', 'b.mp3']) await writeFile(join(directory, name), 'sound');
    const outcome = await batch('transcribe', 'a.mp3', 'b.mp3', '--out', 'texts', '--keep');
    expect(outcome.code).toBe(1);
    expect(outcome.stderr).toMatch(
      /antiphon: b\.mp3: No sound in it\.\nantiphon: 1 of 2 lines failed — /,
    );
    expect(await list('texts')).toStrictEqual(['a.txt']);
    expect((await file('texts/a.txt')).toString()).toMatch(/^a\.mp3: Hello from/);
    expect(server.batches.files.size).toBe(5);
  });

  it.each([
    ['srt', 'a.srt'],
    ['json', 'a.json'],
    ['verbose_json', 'a.json'],
  ])('after Ctrl-C the batch is fetched under the same names: %s', async (format, name) => {
    const { go } = await startHeld();
    await writeFile(join(directory, 'a.mp3'), 'sound');
    const running = startCli(['batch', 'transcribe', 'a.mp3', '--format', format], options());
    await until(() => running.written.stderr.includes('transcribes'));
    running.child.kill('SIGINT');
    const stopped = await running.outcome;
    expect(stopped.code).toBe(130);
    expect(stopped.stderr).toMatch(
      /: the same command, or batch fetch batch_3 --out batch_3 comes back to it/,
    );
    go();
    expect(await batch('fetch', 'batch_3')).toMatchObject({ code: 0 });
    expect(await list('batch_3')).toStrictEqual([name, 'output.jsonl']);
    expect((await file(`batch_3/${name}`)).toString()).toContain('a.mp3');
  });

  it('the same command after Ctrl-C goes on: nothing is sent twice, nothing is left there', async () => {
    const { go } = await startHeld();
    for (const name of ['a.mp3', 'b.mp3']) await writeFile(join(directory, name), 'sound');
    const args = ['transcribe', 'a.mp3', 'b.mp3'];
    const running = startCli(['batch', ...args], options());
    await until(() => running.written.stderr.includes('transcribes'));
    running.child.kill('SIGINT');
    expect(await running.outcome).toMatchObject({ code: 130 });
    go();
    // As if it had been stopped while it wrote them.
    await writeFile(join(directory, 'a.txt'), 'half of it');
    const outcome = await batch(...args);
    expect(outcome).toMatchObject({ code: 0 });
    expect(outcome.stderr).toBe('antiphon: going on: batch_4 transcribes 2 recordings\n');
    expect((await file('a.txt')).toString()).toMatch(/^a\.mp3: Hello from/);
    expect(server.batches.batches.size).toBe(1);
    expect([...server.batches.files.keys()]).toStrictEqual([]);
    expect(await list('.')).toStrictEqual(['a.mp3', 'a.txt', 'b.mp3', 'b.txt']);
  });

  it('replaces no file that is there, unless told', async () => {
    await start();
    await writeFile(join(directory, 'a.mp3'), 'sound');
    await writeFile(join(directory, 'a.txt'), 'my own');
    const outcome = await batch('transcribe', 'a.mp3');
    expect(outcome).toMatchObject({ code: 2, stdout: '' });
    expect(outcome.stderr).toMatch(/\/a\.txt' is there already — replace it by --force, or/);
    expect(server.requests).toHaveLength(0);
    expect((await file('a.txt')).toString()).toBe('my own');
    expect(await batch('transcribe', 'a.mp3', '--force')).toMatchObject({ code: 0 });
    expect((await file('a.txt')).toString()).toMatch(/^a\.mp3: /);
  });

  it('what cannot be begun leaves nothing on the server', async () => {
    await start();
    await writeFile(join(directory, 'a.mp3'), 'sound');
    await writeFile(join(directory, 'a.wav'), 'sound');
    for (const [args, pattern, code] of [
      [['a.mp3', 'a.wav'], /'a\.mp3' and 'a\.wav' would have one transcript, a\.txt — /, 2],
      [['b.mp3'], /'b\.mp3' cannot be read \(ENOENT\) — name an audio file/, 1],
      [[], /missing required argument 'file'/, 2],
    ] as const) {
      const outcome = await batch('transcribe', ...args);
      expect(outcome).toMatchObject({ code, stdout: '' });
      expect(outcome.stderr).toMatch(pattern);
    }
    expect(server.requests).toHaveLength(0);
    const isSecond = () => server.requestsTo('/files').length > 1;
    const full = { type: 'status', status: 507, body: {} } as const;
    server.script({ path: '/files', when: isSecond, fault: full });
    await writeFile(join(directory, 'c.mp3'), 'sound');
    expect(await batch('transcribe', 'a.mp3', 'c.mp3')).toMatchObject({ code: 1 });
    expect([...server.batches.files.keys()]).toStrictEqual([]);
  });
});
