import type { AudioPlayer } from '../services/audio-player.ts';
import type { Engine } from '../services/define-engine.ts';
import { file } from './file.ts';
import { none } from './none.ts';
import { speaker } from './speaker.ts';

/** All players by the name that `AUDIO_PLAYER` gives them. */
export const audioPlayers: Record<string, Engine<AudioPlayer>> = { none, speaker, file };
