import type { Engine } from '@antiphon/shared/services/define-engine';
import type { STTService } from '@antiphon/shared/services/stt-service';
import { openai } from './openai.ts';
import { pocketsphinx } from './pocketsphinx.ts';

/**
 * All engines of this stage by name. Of several that are live the first one here answers when no
 * model is named. A new one is its file and one line here.
 */
export const sttEngines = { openai, pocketsphinx } satisfies Record<string, Engine<STTService>>;
