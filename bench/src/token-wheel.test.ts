import { until } from '@antiphon/testing/until';
import { expect, test } from 'vitest';
import { TokenWheel } from './token-wheel.ts';

/** A clock that is set by hand and counts how often the wheel looked at it. */
class HandClock {
  ms = 0;
  looks = 0;
  readonly read = (): number => {
    this.looks += 1;
    return this.ms;
  };

  async seen(): Promise<void> {
    const before = this.looks;
    await until(() => this.looks >= before + 3);
  }
}

test('a rider is called once per turn until it leaves', async () => {
  const clock = new HandClock();
  const wheel = new TokenWheel(20, 2, clock.read);
  let calls = 0;
  wheel.add(() => (calls += 1) < 3);
  clock.ms = 19;
  await clock.seen();
  expect(calls).toBe(0);
  clock.ms = 20;
  await until(() => calls === 1);
  await clock.seen();
  expect(calls).toBe(1);
  // A late timer is made up for, and the third call was the last.
  clock.ms = 120;
  await until(() => calls === 3);
});

test('riders keep the phases in which they came', async () => {
  const clock = new HandClock();
  const wheel = new TokenWheel(20, 2, clock.read);
  const called: string[] = [];
  wheel.add(() => called.push('first') < 3);
  clock.ms = 10;
  await clock.seen();
  wheel.add(() => called.push('second') < 4);
  clock.ms = 20;
  await until(() => called.length === 1);
  clock.ms = 30;
  await until(() => called.length === 2);
  clock.ms = 50;
  await until(() => called.length === 4);
  expect(called).toEqual(['first', 'second', 'first', 'second']);
});

test('a rider that comes while the wheel turns waits a whole turn', async () => {
  const clock = new HandClock();
  const wheel = new TokenWheel(20, 2, clock.read);
  const called: string[] = [];
  wheel.add(() => {
    called.push('outer');
    wheel.add(() => called.push('inner') < 0);
    return false;
  });
  clock.ms = 20;
  await until(() => called.length === 1);
  clock.ms = 39;
  await clock.seen();
  expect(called).toEqual(['outer']);
  clock.ms = 40;
  await until(() => called.length === 2);
});
