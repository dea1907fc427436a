const USUAL_LIMITS = /at most (\d+) characters|max_length'?"?: (\d+)|maximum (?:length )?of (\d+)/i;

/** How many characters a server takes, when its refusal tells that; undefined for any other. */
export function characterLimit(message: string): number | undefined {
  const found = USUAL_LIMITS.exec(message)?.slice(1).find(Boolean);
  return found === undefined ? undefined : Number(found);
}
