import { describeSTTContract } from '@antiphon/testing/contracts/stt-service-contract';
import { pocketsphinx } from './pocketsphinx.ts';

/** A file of its own: it takes as long as the engine's other tests, and runs beside them. */
const context = { concurrency: 2, warn: () => undefined };

describeSTTContract('pocketsphinx', { create: () => pocketsphinx.createFrom({}, context) });
