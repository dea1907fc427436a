import type { Engine } from '@antiphon/shared/services/define-engine';
import type { STTService } from '@antiphon/shared/services/stt-service';
import { openai } from './openai.ts';
import { pocketsphinx } from './pocketsphinx.ts';

/** The engines `STT_SERVICE` chooses from, by name. A new one is its file and one line here. */
export const sttEngines = { pocketsphinx, openai } satisfies Record<string, Engine<STTService>>;
