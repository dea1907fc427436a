import { seededRandom } from './statistics.ts';

const SUBJECTS = [
  ...['The old captain', 'A quiet neighbour', 'My grandmother', 'The second engineer'],
  ...['Nobody in the village', 'The youngest of the brothers', 'Every second visitor'],
  ...['The woman with the red umbrella', 'An honest merchant', 'The keeper of the lighthouse'],
];
const VERBS = [
  ...['remembered', 'had never seen', 'wrote a long letter about', 'walked slowly towards'],
  ...['was afraid of', 'could not forget', 'asked twice about', 'told us the story of'],
];
const OBJECTS = [
  ...['the frozen river', 'a ship without a crew', 'the house behind the hill', 'the great fire'],
  ...['those seven white horses', 'an empty railway station', 'the last day of summer'],
  ...['the key to the garden', 'a map that was never finished', 'the music from the tower'],
];
const ENDINGS = [
  ...['when the rain began.', 'before anybody else woke up.', 'as if nothing had happened.'],
  ...['and then said nothing for a while.', 'because it was already late.', 'year after year.'],
];

/** Sentences as they stand in books, 60 to 130 characters: the same ones for the same count. */
export function batchSentences(count: number): string[] {
  const random = seededRandom(count);
  const pick = (list: readonly string[]): string => list[Math.floor(random() * list.length)]!;
  return Array.from(
    { length: count },
    (_, index) =>
      `${pick(SUBJECTS)} ${pick(VERBS)} ${pick(OBJECTS)} number ${index + 1}, ${pick(ENDINGS)}`,
  );
}
