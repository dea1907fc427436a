import { join } from 'node:path';
import { startCommand } from './start-command.ts';

process.exitCode = await startCommand(join(import.meta.dirname, '..'));
