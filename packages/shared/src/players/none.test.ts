import { expect, test } from 'vitest';
import { describeAudioPlayerContract } from '@antiphon/testing/contracts/audio-player-contract';
import { none } from './none.ts';

const create = () => none.createFrom({}, { concurrency: 1, warn: () => {} });

describeAudioPlayerContract('none', { create, audible: false });

test('takes an hour of sound at once', async () => {
  const player = await create();
  const playback = await player.play({ streamId: 's1', sampleRateHz: 24_000 });
  const minute = new Uint8Array(60 * 48_000);
  for (let count = 0; count < 60; count += 1) await playback.write(minute);
  await expect(playback.end()).resolves.toBeUndefined();
  await player.close();
});
