import { describe, expect, it } from 'vitest';
import { PlaybackClock } from './playback-clock.ts';

const SECOND = 24_000;

describe('a listener', () => {
  it('hears no gap while sound comes faster than it lasts', () => {
    const clock = new PlaybackClock();
    for (const atMs of [5000, 5001, 5900, 7900]) clock.sent(SECOND, atMs);
    expect(clock).toMatchObject({ gapCount: 0, gapMs: 0 });
  });

  it('hears a gap for as long as the next sound is late, and goes on from there', () => {
    const clock = new PlaybackClock();
    clock.sent(SECOND, 0);
    clock.sent(SECOND, 1300); // heard until 2300
    clock.sent(SECOND, 2200);
    clock.sent(SECOND, 3500); // 200 ms late
    expect(clock).toMatchObject({ gapCount: 2, gapMs: 500 });
  });

  it('does not count jitter', () => {
    const clock = new PlaybackClock();
    clock.sent(SECOND, 0);
    clock.sent(SECOND, 1015);
    expect(clock.gapCount).toBe(0);
  });
});
