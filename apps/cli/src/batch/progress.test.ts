import { PassThrough } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { createTerminal } from '../terminal.ts';
import { clock, Progress, timestamp } from './progress.ts';

function open(isTTY: boolean, columns = 80) {
  const written: string[] = [];
  const stderr = Object.assign(new PassThrough(), { isTTY, columns });
  stderr.on('data', (part: Buffer) => written.push(part.toString()));
  const terminal = createTerminal({ stdout: new PassThrough(), stderr }, () => undefined);
  let nowMs = 0;
  const progress = new Progress(terminal, () => nowMs);
  return {
    ...{ progress, terminal, written },
    at: (seconds: number, done: number, failed = 0) => {
      nowMs = seconds * 1000;
      progress.update({ done, total: 400, failed });
    },
  };
}

describe('on a terminal', () => {
  it('is one line that is drawn again, cut to its width, and gone at the end', () => {
    const { at, progress, written, terminal } = open(true);
    at(0, 0);
    at(1, 10);
    at(2, 20, 1);
    expect(written.at(-1)).toBe(
      '\r\u001b[2K█░░░░░░░░░░░░░░░░░░░░░░░ 5 % 20 of 400 lines, 1 failed, 10 lines/s, 38 s left',
    );
    terminal.notice('the server is away');
    expect(written.slice(-3)).toStrictEqual([
      ...['\r\u001b[2K', 'antiphon: the server is away\n', expect.stringContaining('20 of 400')],
    ]);
    progress.end();
    expect(written.at(-1)).toBe('\r\u001b[2K');
    for (const line of written) expect(line.length).toBeLessThan(85);
  });

  it('is cut to the width of the terminal, where that tells one', () => {
    for (const [columns, shown] of [
      [33, `${'░'.repeat(24)} 0 % 0 o`],
      [0, `${'░'.repeat(24)} 0 % 0 of 400 lines`],
    ] as const) {
      const { at, written } = open(true, columns);
      at(0, 0);
      expect(written.at(-1)).toBe(`\r\u001b[2K${shown}`);
    }
  });

  it('smooths the rate, and begins anew with the next batch', () => {
    const { at, written } = open(true);
    at(0, 0);
    for (let second = 1; second <= 30; second += 1) at(second, second * 4);
    expect(written.at(-1)).toMatch(/120 of 400 lines, 4\.0 lines\/s, 1:10 left$/);
    at(31, 160);
    expect(written.at(-1)).toMatch(/160 of 400 lines, 5\.6 lines\/s/);
    at(32, 0);
    at(60, 0);
    at(61, 5);
    expect(written.at(-1)).toMatch(/5 of 400 lines, 5\.0 lines\/s/);
    at(62, 0);
    expect(written.at(-1)).toMatch(/0 of 400 lines$/);
  });
});

it('elsewhere it is a line every 10 s', () => {
  const { at, progress, written } = open(false);
  for (let second = 0; second <= 25; second += 1) at(second, second);
  progress.end();
  expect(written).toStrictEqual([
    'antiphon: 10 of 400 lines, 1.0 lines/s, 6:30 left\n',
    'antiphon: 20 of 400 lines, 1.0 lines/s, 6:20 left\n',
  ]);
});

it('times are read as clocks are', () => {
  expect([59, 65, 7200].map(clock)).toStrictEqual(['59 s', '1:05', '2:00:00']);
  expect([0, 7.9, 65, 3600].map(timestamp)).toStrictEqual(['0:00', '0:07', '1:05', '1:00:00']);
});
