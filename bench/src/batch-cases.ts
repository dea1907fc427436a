export interface BatchCase {
  name: string;
  title: string;
  /** Lines of the batch that is timed. */
  lines: number;
  /** Of the bare loop, taken evenly from the same ones: how many it speaks in a second does not change. */
  bareLines: number;
  /** Requests of somebody who waits, without and beside a batch. */
  requests: number;
}

/** The aims of the issue. */
export const BATCH_AIMS = {
  /** The batch's time by that of a bare loop over the same texts. */
  timeRatio: 1.1,
  /** First audio beside a batch by first audio on an idle stack, p50. */
  firstAudioRatio: 1.5,
} as const;

/** `quick`: fewer lines, for a look at a change. */
export function batchCases(quick: boolean): BatchCase[] {
  const lines = quick ? 500 : 5000;
  return [
    {
      name: 'batch',
      title: `Batch of ${lines.toLocaleString('en-US')} sentences, flite`,
      lines,
      bareLines: quick ? lines : 1000,
      requests: quick ? 10 : 30,
    },
  ];
}
