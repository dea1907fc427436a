import { espeak } from './espeak.ts';
import { flite } from './flite.ts';
import { openai } from './openai.ts';

/**
 * All engines of this stage by name. Of several that are live the first one here answers when no
 * model is named. A new one is its file and one line here.
 */
export const ttsEngines = { openai, flite, espeak };
