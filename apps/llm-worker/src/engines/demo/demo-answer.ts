import { calculate, writeNumber } from './arithmetic.ts';
import { codeAnswer } from './code-answer.ts';

const WHO = "I am antiphon's demo model: a set of rules, not a neural network.";
const ABILITIES =
  'I can greet you, tell the time and the date, do arithmetic, count, repeat what you say, tell a short story, and write hello world in several languages.';
const REAL_MODEL = 'For real answers, set AI_SERVICE=openai and point it at a model.';

const STORY =
  'Once upon a time there was a lighthouse that could sing. Every evening it sang across the bay, one verse at a time, and waited. ' +
  'For years nobody replied. Then, one foggy night, a small fishing boat answered from far out on the water. ' +
  'The lighthouse sang the next verse, the boat sang the one after it, and verse by verse they brought each other home. ' +
  'Ever since, the people there have called it an antiphon.';

const MAX_ECHO_CHARACTERS = 200;
const MAX_COUNT = 100;

interface Rule {
  when: RegExp;
  answer: (match: RegExpExecArray, now: Date) => string;
}

/** In this order; the first that fits answers. */
const RULES: readonly Rule[] = [
  {
    when: /^\s*(?:please\s+)?(?:say|repeat)(?:\s+(?:exactly|after me))?\s*:\s*(?<text>[^]+)$/i,
    answer: ({ groups }) => (groups?.['text'] ?? '').trim(),
  },
  {
    when: /\b(?:who|what) are you\b|\byour name\b|\bare you (?:real|human|an? ai|chatgpt|gpt)/i,
    answer: () => `${WHO} ${ABILITIES} ${REAL_MODEL}`,
  },
  {
    when: /\bwhat can you do\b|^\s*(?:help|\/help)\b/i,
    answer: () => `${WHO} ${ABILITIES} ${REAL_MODEL}`,
  },
  {
    when: /\bwhat(?:'s| is)? (?:the )?time\b|\btime is it\b|\bthe time\b/i,
    answer: (_match, now) => `It is ${timeOf(now)} by this server's clock.`,
  },
  {
    when: /\bwhat(?:'s| is)? (?:the |today's )?date\b|\bwhat day is\b|\btoday's date\b/i,
    answer: (_match, now) => `Today is ${dateOf(now)}.`,
  },
  {
    when: /\bcount (?:from (?:one|1) )?(?:up )?to (?<number>\d{1,6})\b/i,
    answer: ({ groups }) => countTo(Number(groups?.['number'])),
  },
  { when: /\bstory\b|\btale\b/i, answer: () => STORY },
  {
    when: /^\s*(?:hi|hello|hey|good (?:morning|afternoon|evening)|greetings)\b/i,
    answer: () => `Hello! ${WHO} How can I help you? ${ABILITIES}`,
  },
  {
    when: /\bthank(?:s| you)\b/i,
    answer: () => 'You are welcome! Is there anything else?',
  },
  {
    when: /^\s*(?:bye|goodbye|good night|see you)\b/i,
    answer: () => 'Goodbye! It was nice talking to you.',
  },
];

/** What the demo model answers to a prompt. The same prompt at the same time gives the same answer. */
export function demoAnswer(prompt: string, now: Date): string {
  const calculation = calculate(prompt);
  if (calculation !== undefined) return calculationAnswer(calculation);
  const code = codeAnswer(prompt);
  if (code !== undefined) return code;
  for (const { when, answer } of RULES) {
    const match = when.exec(prompt);
    if (match !== null) return answer(match, now);
  }
  return echo(prompt);
}

function calculationAnswer({ spoken, result }: { spoken: string; result: number }): string {
  if (Number.isNaN(result)) return `${spoken} has no result: nothing can be divided by zero.`;
  if (!Number.isFinite(result)) return `${spoken} is too large a number for me.`;
  return `${spoken} is ${writeNumber(result)}.`;
}

function countTo(last: number): string {
  if (last > MAX_COUNT) return `That would take long. I count to ${MAX_COUNT} at most.`;
  return `${Array.from({ length: last }, (_, index) => index + 1).join(', ')}.`;
}

function echo(prompt: string): string {
  const said = prompt.replaceAll(/\s+/g, ' ').trim();
  if (said === '') return `${WHO} You sent me no text. ${ABILITIES}`;
  const isShort = said.length <= MAX_ECHO_CHARACTERS;
  const heard = isShort ? said : `${said.slice(0, MAX_ECHO_CHARACTERS).toWellFormed()}…`;
  return `${WHO} You said: "${heard}" I have no rule for that. ${ABILITIES} ${REAL_MODEL}`;
}

function timeOf(now: Date): string {
  return new Intl.DateTimeFormat('en-US', { timeStyle: 'short' }).format(now);
}

function dateOf(now: Date): string {
  return new Intl.DateTimeFormat('en-US', { dateStyle: 'full' }).format(now);
}
