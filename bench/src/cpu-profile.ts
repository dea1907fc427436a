interface CallFrame {
  functionName: string;
  url: string;
  lineNumber: number;
}

/** What Node writes with `--cpu-prof`; times in microseconds of the monotonic clock. */
export interface CpuProfile {
  nodes: { id: number; callFrame: CallFrame; children?: number[] }[];
  startTime: number;
  samples: number[];
  timeDeltas: number[];
}

export interface FunctionTime {
  /** Function, file and line. */
  where: string;
  /** Spent in the function itself. */
  selfMs: number;
  /** With what it called. */
  totalMs: number;
  /** Both, of the time in which the process was not idle. */
  selfShare: number;
  totalShare: number;
}

const OUTSIDE = new Set(['(idle)', '(root)']);

function placeOf({ functionName, url, lineNumber }: CallFrame): string {
  const name = functionName || '(anonymous)';
  if (url === '') return name;
  // Enough of the path to know the package by.
  const file = url.split('/node_modules/').at(-1)!.split('/').slice(-4).join('/');
  return `${name} ${file}:${lineNumber + 1}`;
}

/** For each node: its function, and before it all that called it, each once. */
function stacksOf(profile: CpuProfile): Map<number, string[]> {
  const nodes = new Map(profile.nodes.map((node) => [node.id, node]));
  const stacks = new Map<number, string[]>();
  const visit = (id: number, callers: string[]): void => {
    const node = nodes.get(id);
    if (!node || stacks.has(id)) return;
    const where = placeOf(node.callFrame);
    const stack = [where, ...callers.filter((caller) => caller !== where)];
    stacks.set(id, stack);
    for (const child of node.children ?? []) visit(child, stack);
  };
  // Parents stand before their children, so that whoever is visited here has no caller.
  for (const node of profile.nodes) visit(node.id, []);
  return stacks;
}

/** Time per function since `fromMs` of the monotonic clock, so that the start of a process can be left out. */
export function functionTimes(profile: CpuProfile, fromMs = 0): FunctionTime[] {
  const stacks = stacksOf(profile);
  const selfMs = new Map<string, number>();
  const totalMs = new Map<string, number>();
  const add = (times: Map<string, number>, where: string, ms: number): void => {
    times.set(where, (times.get(where) ?? 0) + ms);
  };
  let atMs = profile.startTime / 1e3;
  let busyMs = 0;
  profile.samples.forEach((id, index) => {
    const ms = (profile.timeDeltas[index] ?? 0) / 1e3;
    atMs += ms;
    const stack = stacks.get(id);
    const where = stack?.[0];
    if (atMs < fromMs || !stack || where === undefined || OUTSIDE.has(where)) return;
    busyMs += ms;
    add(selfMs, where, ms);
    for (const place of stack) if (!OUTSIDE.has(place)) add(totalMs, place, ms);
  });
  return Array.from(totalMs, ([where, total]) => {
    const self = selfMs.get(where) ?? 0;
    const shares = { selfShare: self / busyMs, totalShare: total / busyMs };
    return { where, selfMs: self, totalMs: total, ...shares };
  });
}
