/** Logs: one JSON object per line, or lines for people. Nothing here sees a secret: texts are masked before. */
import { type Logger as PinoLogger, pino } from 'pino';
import { PinoPretty } from 'pino-pretty';

export const logLevels = ['trace', 'debug', 'info', 'warn', 'error', 'silent'] as const;
export type LogLevel = (typeof logLevels)[number];
export const logFormats = ['json', 'pretty'] as const;
export type LogFormat = (typeof logFormats)[number];

export type Logger = PinoLogger;

/** A logger that writes to standard error, so that standard output stays free for what a command prints. */
export function createLogger(level: LogLevel, format: LogFormat): Logger {
  const options = {
    level,
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
  };
  if (format === 'pretty') {
    const pretty = PinoPretty({
      destination: 2,
      sync: true,
      translateTime: 'SYS:HH:MM:ss.l',
      ignore: 'pid,hostname',
    });
    pretty.on('error', ignore);
    return pino(options, pretty);
  }
  const plain = pino.destination({ dest: 2, sync: true });
  plain.on('error', ignore);
  return pino(options, plain);
}

/** A full disk behind standard error must not end the process: volumes matter more than its log. */
function ignore(): void {}

/** A logger that writes nothing. */
export function silentLogger(): Logger {
  return pino({ level: 'silent' });
}
