import { z } from 'zod';

/** An empty variable is an unset one: compose passes those. */
export function withoutEmpty(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(environment).filter(([, value]) => value !== ''));
}

/** A duration in ms; 0 only where `minimum` allows it. */
export const milliseconds = (preset: number, minimum = 1) => wholeNumber(preset, minimum);

export const wholeNumber = (preset: number, minimum = 0) =>
  z
    .string()
    .regex(/^\d+$/, 'must be a whole number')
    .transform(Number)
    .refine(
      (value) => value >= minimum && Number.isSafeInteger(value),
      `must be ${minimum} or more`,
    )
    .default(preset);

export const port = (preset: number) =>
  wholeNumber(preset).refine((value) => value <= 65_535, 'must be a port: 0 to 65535');

export const flag = (preset = false) =>
  z
    .enum(['true', 'false', '1', '0'], 'must be true or false')
    .transform((value) => value === 'true' || value === '1')
    .default(preset);

/** `a, b,c` → `['a', 'b', 'c']`; what it is when left out is the caller's to say. */
export const commaList = () =>
  z.string().transform((value) =>
    value
      .split(',')
      .map((part) => part.trim())
      .filter((part) => part !== ''),
  );
