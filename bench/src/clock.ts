/**
 * CLOCK_MONOTONIC in milliseconds. One clock for every process of a machine, and no clock
 * adjustment bends it, unlike `performance.timeOrigin`: a stamp of the upstream can be subtracted
 * from a time of the client.
 */
export function monotonicMs(): number {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1e3 + nanoseconds / 1e6;
}
