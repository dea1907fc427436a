import { espeak } from './espeak.ts';
import { flite } from './flite.ts';
import { openai } from './openai.ts';

/** All engines of this stage by name, in the order of preference. */
export const ttsEngines = { openai, flite, espeak };
