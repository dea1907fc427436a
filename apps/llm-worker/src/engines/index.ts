import { demo } from './demo.ts';
import { openai } from './openai.ts';

/** All engines of this stage by name, in the order of preference. */
export const llmEngines = { openai, demo };
