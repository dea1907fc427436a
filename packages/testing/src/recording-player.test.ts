import { expect, it } from 'vitest';
import { describeAudioPlayerContract } from './contracts/audio-player-contract.ts';
import { RecordingPlayer } from './recording-player.ts';

describeAudioPlayerContract('the recording player', {
  create: async () => new RecordingPlayer({ speed: 20 }),
  audible: true,
});

it('tells what was heard until the stop', async () => {
  const player = new RecordingPlayer({ speed: 1 });
  const playback = await player.play({ streamId: 's', sampleRateHz: 24_000 });
  await playback.write(Uint8Array.of(1, 2, 3, 4));
  const cut = playback.write(new Uint8Array(480_000));
  await playback.stop();
  await expect(cut).rejects.toMatchObject({ code: 'player_failed' });
  expect(player.of('s').heard).toEqual(Buffer.of(1, 2, 3, 4));
  expect(player.of('s').stoppedAtMs).toBeDefined();
});
