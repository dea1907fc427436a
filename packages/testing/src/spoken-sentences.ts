/** A sentence that survives flite → mp3 → pocketsphinx. */
export interface SpokenSentence {
  sentence: string;
  /** One of flite's own voices that says it clearly, for tests that speak without our engines. */
  voice: 'slt' | 'rms' | 'awb' | 'kal16';
  /** Lower case; each was among the words heard in every voice but the hard ones. */
  keyWords: readonly string[];
  /** Voices of the flite engine in which a key word was lost (kal, at 8 kHz, is not heard at all). */
  hardVoices: readonly string[];
}

/**
 * Chosen out of 24 by experiment: spoken by every voice of the flite engine, encoded at 24 kHz (mp3
 * of 32, 64 and 128 kb/s, opus, wav), decoded to 16 kHz, heard by pocketsphinx; the three voices
 * that are played at another rate (onyx, shimmer, cedar) at mp3 of 64 kb/s only. Words lost of all
 * 24: 3 to 8 % in the plain voices, 17 to 21 % in those three. Both ends are deterministic: what is
 * heard once is always heard. mp3 at 16 kHz and 24 kb/s loses words of most of them.
 */
export const SPOKEN_SENTENCES = [
  {
    sentence: 'Many people believe that music is good for children.',
    voice: 'slt',
    keyWords: ['many', 'people', 'believe', 'music', 'good', 'children'],
    hardVoices: [],
  },
  {
    sentence: 'Good morning and welcome to the station.',
    voice: 'rms',
    keyWords: ['good', 'morning', 'welcome', 'station'],
    hardVoices: ['shimmer'],
  },
  {
    sentence: 'I would like to have a cup of coffee.',
    voice: 'slt',
    keyWords: ['would', 'like', 'have', 'cup', 'coffee'],
    hardVoices: ['rms', 'echo', 'onyx'],
  },
  {
    sentence: 'My brother works for a computer company in California.',
    voice: 'awb',
    keyWords: ['brother', 'works', 'computer', 'company', 'california'],
    hardVoices: [],
  },
  {
    sentence: 'The president of the United States lives in Washington.',
    voice: 'kal16',
    keyWords: ['president', 'united', 'states', 'lives', 'washington'],
    hardVoices: ['onyx', 'cedar'],
  },
  {
    sentence: 'The children are playing in the garden with their mother.',
    voice: 'slt',
    keyWords: ['children', 'playing', 'garden', 'mother'],
    hardVoices: ['onyx', 'cedar'],
  },
  {
    sentence: 'One two three four five six seven eight nine ten.',
    voice: 'awb',
    keyWords: ['one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine', 'ten'],
    hardVoices: ['rms', 'echo', 'coral', 'marin', 'shimmer', 'cedar'],
  },
  {
    sentence: 'We need to find a better way to solve this problem.',
    voice: 'rms',
    keyWords: ['need', 'find', 'better', 'way', 'solve', 'problem'],
    hardVoices: ['coral', 'nova', 'onyx', 'shimmer'],
  },
  {
    sentence: 'What time is it in New York?',
    voice: 'slt',
    keyWords: ['what', 'time', 'new', 'york'],
    hardVoices: ['ash', 'fable', 'shimmer', 'cedar'],
  },
  {
    sentence: 'The doctor said that he should stay in the hospital.',
    voice: 'awb',
    keyWords: ['doctor', 'said', 'should', 'stay', 'hospital'],
    hardVoices: ['kal16', 'shimmer'],
  },
] as const satisfies readonly SpokenSentence[];
