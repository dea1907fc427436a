interface Snippet {
  name: string;
  /** How people write it. */
  mention: RegExp;
  /** After the opening fence. */
  fence: string;
  code: string;
}

const SNIPPETS: readonly Snippet[] = [
  {
    name: 'TypeScript',
    mention: /\btypescript\b|\bts\b/i,
    fence: 'typescript',
    code: "const greeting: string = 'Hello, world!';\nconsole.log(greeting);",
  },
  {
    name: 'JavaScript',
    mention: /\bjavascript\b|\bjs\b|\bnode\b/i,
    fence: 'javascript',
    code: "console.log('Hello, world!');",
  },
  {
    name: 'C++',
    mention: /\bc\+\+|\bcpp\b/i,
    fence: 'cpp',
    code: '#include <iostream>\n\nint main() {\n  std::cout << "Hello, world!" << std::endl;\n}',
  },
  {
    name: 'Java',
    mention: /\bjava\b/i,
    fence: 'java',
    code: 'public class Hello {\n  public static void main(String[] args) {\n    System.out.println("Hello, world!");\n  }\n}',
  },
  {
    name: 'Go',
    mention: /\bgolang\b|\bin go\b/i,
    fence: 'go',
    code: 'package main\n\nimport "fmt"\n\nfunc main() {\n\tfmt.Println("Hello, world!")\n}',
  },
  {
    name: 'Rust',
    mention: /\brust\b/i,
    fence: 'rust',
    code: 'fn main() {\n    println!("Hello, world!");\n}',
  },
  {
    name: 'C',
    mention: /\bin c\b/i,
    fence: 'c',
    code: '#include <stdio.h>\n\nint main(void) {\n  puts("Hello, world!");\n}',
  },
  {
    name: 'Bash',
    mention: /\bbash\b|\bshell\b/i,
    fence: 'bash',
    code: 'echo "Hello, world!"',
  },
  {
    name: 'Python',
    mention: /\bpython\b/i,
    fence: 'python',
    code: 'print("Hello, world!")',
  },
];

const WANTS_HELLO = /\bhello,? world\b/i;
const WANTS_CODE =
  /\b(?:write|show|give|create|make)\b[^]{0,80}\b(?:code|program|script|function|snippet)\b/i;

/** A fenced code block, in the language that is named or in Python; undefined when none is wanted. */
export function codeAnswer(prompt: string): string | undefined {
  const wantsHello = WANTS_HELLO.test(prompt);
  if (!wantsHello && !WANTS_CODE.test(prompt)) return undefined;
  const snippet = SNIPPETS.find(({ mention }) => mention.test(prompt)) ?? SNIPPETS.at(-1);
  if (snippet === undefined) return undefined;
  const { name, fence, code } = snippet;
  const lead = wantsHello
    ? `Here is hello world in ${name}:`
    : `I am a demo and can write only one program. Here it is in ${name}:`;
  return `${lead}\n\n\`\`\`${fence}\n${code}\n\`\`\`\n\nRun it, and it will greet the world.`;
}
