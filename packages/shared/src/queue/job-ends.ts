import { VoiceError } from '../errors/voice-error.ts';
import type { JobKind } from '../jobs/job-catalog.ts';
import type { Logger } from '../runtime/logger.ts';
import type { StreamLog } from '../streams/stream-log.ts';
import { StreamClosed } from '../streams/stream-producer.ts';
import { JobAborted } from './job-run.ts';

export interface JobEndsOptions {
  kind: JobKind;
  log: StreamLog;
  logger: Logger;
}

/** What becomes of a stream whose job did not end it. All methods reject with ioredis' errors. */
export class JobEnds {
  readonly #options: JobEndsOptions;

  constructor(options: JobEndsOptions) {
    this.#options = options;
  }

  /** By what the job threw. */
  async end(streamId: string, thrown: unknown): Promise<void> {
    const { logger } = this.#options;
    if (thrown instanceof StreamClosed) {
      // Redis came back without what this run had written: nobody else will end the stream.
      if (thrown.reason === 'gap')
        await this.finish(streamId, new VoiceError('stream_interrupted'));
      return;
    }
    if (thrown instanceof JobAborted) {
      if (thrown.reason === 'gateway-lost') await this.finishLost(streamId);
      if (thrown.reason === 'shutdown')
        await this.finish(streamId, new VoiceError('server_shutting_down'));
      return; // 'stream-end', 'lock-lost': the end is another's to write
    }
    const error = VoiceError.from(thrown);
    const level = error.definition.status >= 500 ? 'error' : 'info';
    logger[level]({ err: error, streamId }, 'stream ended with an error');
    await this.finish(streamId, error);
  }

  /** A chat that broke off is spoken as far as it was written. */
  async finish(streamId: string, error: VoiceError): Promise<void> {
    const { log, kind } = this.#options;
    await log.finish(streamId, error, { afterPhrases: kind === 'chat' });
  }

  /**
   * Its gateway is dead. Nobody stopped it: who sends the request again is to get an answer. As
   * `stream_cancelled` it was what an Idempotency-Key answered for as long as the log lived.
   */
  async finishLost(streamId: string): Promise<void> {
    await this.#options.log.finish(streamId, new VoiceError('stream_interrupted'));
  }
}
