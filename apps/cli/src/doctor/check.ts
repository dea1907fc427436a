/** `failed` is what has to work; a `warning` is what some commands or engines would miss. */
export interface Check {
  name: string;
  status: 'ok' | 'warning' | 'failed';
  /** What was found. */
  detail: string;
  /** What to do; never with `ok`. */
  advice?: string;
}

export type CheckResult = Omit<Check, 'name'>;

const MARKS = { ok: '✓', warning: '!', failed: '✗' };

/** `✗ redis: nothing listens there — start it`. */
export function checkLine({ name, status, detail, advice }: Check): string {
  return `${MARKS[status]} ${name}: ${detail}${advice === undefined ? '' : ` — ${advice}`}`;
}

export function ok(detail: string): CheckResult {
  return { status: 'ok', detail };
}

export function warning(detail: string, advice: string): CheckResult {
  return { status: 'warning', detail, advice };
}

export function failed(detail: string, advice: string): CheckResult {
  return { status: 'failed', detail, advice };
}
