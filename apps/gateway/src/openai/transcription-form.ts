import { VoiceError } from '@antiphon/shared/errors/voice-error';
import { languageCode } from '@antiphon/shared/services/language-names';
import { z } from 'zod';
import { parseBody } from './json-body.ts';
import { TIME_GRANULARITIES, TRANSCRIPT_FORMATS } from './transcript-format.ts';

const MAX_PROMPT_CHARACTERS = 4096;

const numberText = z.string().transform(Number).pipe(z.number().min(0).max(1));

const booleanText = z
  .enum(['true', 'false', 'True', 'False', '1', '0'])
  .transform((text) => /^(true|1)$/i.test(text));

/** By code or by name, with or without a region: `de`, `de-AT`, `German`. */
const language = z.string().transform((text, context) => {
  const code = languageCode(text);
  if (code !== undefined) return code;
  context.addIssue({
    code: 'custom',
    message: `Invalid language '${text.slice(0, 50)}'. Language parameter must be specified in ISO-639-1 format.`,
  });
  return z.NEVER;
});

/** Contract, sections 3 and 4. */
const transcriptionFormSchema = z.object({
  model: z.string().optional(),
  language: language.optional(),
  prompt: z.string().max(MAX_PROMPT_CHARACTERS).optional(),
  response_format: z.enum(TRANSCRIPT_FORMATS).default('json'),
  temperature: numberText.optional(),
  timestamp_granularities: z.array(z.enum(TIME_GRANULARITIES)).default([]),
  stream: booleanText.default(false),
});

export type TranscriptionForm = z.output<typeof transcriptionFormSchema>;

/** Known to OpenAI, offered by no engine here: asking for one is an error, not silence. */
const UNSUPPORTED = [
  'chunking_strategy',
  'include',
  'keywords',
  'languages',
  'known_speaker_names',
  'known_speaker_references',
];

/** What `stream` can be combined with: an event stream has no other shape. */
const STREAMED_FORMATS = new Set<string>(['json', 'text']);

/**
 * `fields` by name without `[]`; several of one name in order. An empty one counts as left out:
 * Python sends those. Throws the contract's 400s.
 */
export function parseTranscriptionForm(fields: Map<string, string[]>): TranscriptionForm {
  for (const name of UNSUPPORTED) {
    const [value] =
      fields.get(name) ?? [...fields.keys()].filter((key) => key.startsWith(`${name}[`));
    // "auto" is what an engine does by itself.
    if (value === undefined || value === '' || value === 'auto') continue;
    throw new VoiceError('unsupported_parameter', {
      param: name,
      message: `Unsupported parameter: '${name}' is not supported with this model.`,
    });
  }
  const single = (name: string) => fields.get(name)?.at(-1) || undefined;
  const given = {
    model: single('model'),
    language: single('language'),
    prompt: single('prompt'),
    response_format: single('response_format'),
    temperature: single('temperature'),
    timestamp_granularities: fields.get('timestamp_granularities')?.filter((value) => value !== ''),
    stream: single('stream'),
  };
  const form = parseBody(transcriptionFormSchema, dropUndefined(given));
  if (form.stream && !STREAMED_FORMATS.has(form.response_format)) {
    throw new VoiceError('unsupported_value', {
      param: 'response_format',
      message: `Unsupported value: 'response_format' does not support '${form.response_format}' when stream=true. Supported values are: 'json' and 'text'.`,
    });
  }
  if (form.timestamp_granularities.length > 0 && form.response_format !== 'verbose_json') {
    throw new VoiceError('invalid_value', {
      param: 'timestamp_granularities',
      message: `'timestamp_granularities' needs 'response_format' to be 'verbose_json', but it is '${form.response_format}'.`,
    });
  }
  return form;
}

const backgroundSchema = z.object({ background: booleanText.optional() });

/** Whether the stream is to go on without its client: a field of ours. Throws `invalid_value`. */
export function asksForBackground(fields: Map<string, string[]>): boolean {
  const background = fields.get('background')?.at(-1) || undefined;
  return parseBody(backgroundSchema, dropUndefined({ background })).background ?? false;
}

/** What a job is told of the form. */
export function heardHow({
  language,
  prompt,
  temperature,
  timestamp_granularities: granularities,
}: TranscriptionForm) {
  return {
    wordTimes: granularities.includes('word'),
    ...(language === undefined ? {} : { language }),
    ...(prompt === undefined || prompt === '' ? {} : { prompt }),
    ...(temperature === undefined ? {} : { temperature }),
  };
}

function dropUndefined(record: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(record).filter(([, value]) => value !== undefined));
}
