import { BYTES_PER_SAMPLE, SAMPLE_RATE_HZ } from '@antiphon/shared/audio/audio-format';
import type { StreamEntry } from '@antiphon/shared/streams/stream-event';

/** What one stream has come to, counted from its entries. */
export class StreamTally {
  /** Of phrases that were cut out of a chat answer; a speech request's are known before. */
  phraseCharacters = 0;
  phrasesSpoken = 0;
  phrasesFailed = 0;
  audioSeconds = 0;
  heardSeconds = 0;
  /** The code that it ended with; undefined after a good end, and before any. */
  errorCode: string | undefined;
  ended = false;

  note({ event, terminal }: StreamEntry): void {
    this.ended ||= terminal;
    switch (event.type) {
      case 'phrase-start':
        this.phraseCharacters += event.text.length;
        break;
      case 'audio-delta':
        this.audioSeconds += event.pcm.length / BYTES_PER_SAMPLE / SAMPLE_RATE_HZ;
        break;
      case 'audio-end':
        this.phrasesSpoken += 1;
        break;
      case 'phrase-error':
        this.phrasesFailed += 1;
        break;
      case 'transcript-end':
        this.heardSeconds += event.durationSeconds;
        break;
      case 'stream-error':
        this.errorCode = event.error.code;
        break;
      default:
    }
  }
}
