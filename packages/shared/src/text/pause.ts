/** The silence that belongs behind a phrase, by the mark it ends at; `none`: in the middle of a clause. */
export const PAUSES = ['none', 'clause', 'sentence', 'paragraph'] as const;
export type Pause = (typeof PAUSES)[number];
